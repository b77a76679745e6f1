/* Shards, blocks of slots, and the sequences that have them.
   Rests on device/device.h for memory. See cache.h; passes over sequences are planned in pass.c. */
#include "ring/cache.h"

#include <stdlib.h>
#include <string.h>

size_t kv_row_bytes(dtype type, int32_t head_dim)
{
    return dtype_row_bytes(type, head_dim) + (type == DTYPE_I8 ? sizeof(float) : 0);
}

size_t shard_need(int64_t n_layers, int32_t n_kv_heads, int32_t head_dim, int64_t slots, dtype type)
{
    size_t slot = bytes_of(n_kv_heads, 1, kv_row_bytes(type, head_dim));
    size_t side = slot == SIZE_MAX ? SIZE_MAX : bytes_of(slots, 1, slot);

    return side > SIZE_MAX / 2 ? SIZE_MAX : bytes_of(2, n_layers, side);
}

lariat_status shard_open(shard *s, device *dev, int64_t n_layers, int32_t n_kv_heads, int32_t head_dim, int64_t slots,
                         dtype type)
{
    size_t need = shard_need(n_layers, n_kv_heads, head_dim, slots, type);

    *s = (shard){.type = type, .n_layers = n_layers, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .slots = slots,
                 .bytes = need};
    TRY(device_arena_open(dev, &s->memory, need, "KV shard"));
    s->side_bytes = (size_t)(n_kv_heads * slots) * dtype_row_bytes(type, head_dim);
    s->base = arena_take(&s->memory, 0);
    /* Aligned: slots are whole blocks. */
    s->scales = type == DTYPE_I8 ? (float *)(void *)(s->base + 2 * (size_t)n_layers * s->side_bytes) : NULL;
    return LARIAT_OK;
}

void shard_close(shard *s, device *dev)
{
    device_arena_close(dev, &s->memory);
}

size_t shard_offset(const shard *s, int32_t layer, int side, int64_t slot)
{
    size_t row = (size_t)s->head_dim * dtype_block_bytes(s->type);

    return ((size_t)layer * 2 + (size_t)side) * s->side_bytes + (size_t)slot * row;
}

float *shard_scales(const shard *s, int32_t layer, int side, int64_t slot)
{
    return s->scales ? s->scales + ((int64_t)layer * 2 + side) * s->n_kv_heads * s->slots + slot : NULL;
}

/* --- blocks --- */

/* Parts of a pass that share a beginning list its spans each: room for so many of the whole pool. */
enum { SHARING_PARTS = 16 };

static int64_t whole_blocks(int64_t slots)
{
    return (slots + SLOT_BLOCK - 1) / SLOT_BLOCK;
}

/* Of a sequence alone. */
static int64_t slots_for(int32_t n_ranks, int64_t capacity)
{
    int64_t share = (capacity + n_ranks - 1) / n_ranks;
    int64_t ahead = n_ranks > 1 ? DECODE_BLOCK : 0;

    return whole_blocks(share + ahead < capacity ? share + ahead : capacity) * SLOT_BLOCK;
}

int64_t cache_slots_for(int32_t n_ranks, int64_t capacity, int32_t sessions)
{
    int64_t each = n_ranks > 1 ? 1 + DECODE_BLOCK : 0; /* its share is rounded up, and it is ahead by itself */

    return whole_blocks(slots_for(n_ranks, capacity) + (sessions - 1) * (each + SLOT_BLOCK)) * SLOT_BLOCK;
}

int64_t cache_extents(int64_t slots, int32_t sessions)
{
    return sessions == 1 ? 1 : whole_blocks(slots) * (sessions < SHARING_PARTS ? sessions : SHARING_PARTS);
}

/* Takes the tables of blocks from their arena, or from one that counts. */
static void take_tables(cache *c)
{
    int64_t n = c->n_ranks;

    c->users = arena_take(&c->memory, bytes_of(n, c->blocks, sizeof *c->users));
    c->before = arena_take(&c->memory, bytes_of(n, c->blocks, sizeof *c->before));
    c->positions = arena_take(&c->memory, bytes_of(n, c->blocks, SLOT_BLOCK * sizeof *c->positions));
    c->free_blocks = arena_take(&c->memory, bytes_of(n, 1, sizeof *c->free_blocks));
    c->lowest = arena_take(&c->memory, bytes_of(n, 1, sizeof *c->lowest));
}

static size_t tables_bytes(cache c)
{
    arena_count(&c.memory);
    take_tables(&c);
    return c.memory.used;
}

size_t cache_table_bytes(int32_t n_ranks, int64_t slots, int32_t sessions)
{
    const size_t pieces[] = {tables_bytes((cache){.n_ranks = n_ranks, .blocks = whole_blocks(slots)}),
                             bytes_of(n_ranks, sessions, sizeof(holding))};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

lariat_status cache_open(cache *c, int32_t n_ranks, int64_t slots)
{
    *c = (cache){.n_ranks = n_ranks, .blocks = whole_blocks(slots)};
    TRY(arena_open(&c->memory, tables_bytes(*c), "table of the KV cache"));
    take_tables(c);
    for (int32_t r = 0; r < n_ranks; r++) {
        c->free_blocks[r] = c->blocks;
    }
    return LARIAT_OK;
}

void cache_close(cache *c)
{
    arena_close(&c->memory);
    *c = (cache){0};
}

/* The largest capacity of a sequence that has so many blocks of each rank: slots_for grows with it. */
static int64_t capacity_of(const cache *c, int64_t blocks)
{
    int64_t low = 0, high = blocks * SLOT_BLOCK * c->n_ranks;

    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (slots_for(c->n_ranks, middle) <= blocks * SLOT_BLOCK) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

int64_t cache_most(const cache *c)
{
    return capacity_of(c, c->blocks);
}

int64_t cache_room(const cache *c)
{
    int64_t least = c->blocks;

    for (int32_t r = 0; r < c->n_ranks; r++) {
        least = c->free_blocks[r] < least ? c->free_blocks[r] : least;
    }
    return capacity_of(c, least);
}

/* One more block for a holding, of a rank that has a free one. */
static void take_block(cache *c, int32_t rank, holding *h)
{
    int32_t *users = c->users + rank * c->blocks;
    int64_t b = h->last + 1;

    if (h->last < 0 || b == c->blocks || users[b]) {
        for (b = c->lowest[rank]; users[b]; b++) {
        }
        c->lowest[rank] = b + 1;
    }
    users[b] = 1;
    c->before[rank * c->blocks + b] = h->last; /* whose user is this block now, not the holding */
    c->free_blocks[rank]--;
    h->last = (int32_t)b;
}

/* A block loses a user. One that has none left is free, and the block before it loses one. */
static void release_block(cache *c, int32_t rank, int32_t block)
{
    int32_t *users = c->users + rank * c->blocks;

    for (int32_t b = block; b >= 0 && --users[b] == 0; b = c->before[rank * c->blocks + b]) {
        c->free_blocks[rank]++;
        c->lowest[rank] = b < c->lowest[rank] ? b : c->lowest[rank];
    }
}

/* The holding ends one block earlier. */
static void drop_block(cache *c, int32_t rank, holding *h)
{
    int32_t block = h->last;

    h->last = c->before[rank * c->blocks + block];
    h->used -= (h->used - 1) % SLOT_BLOCK + 1;
    if (h->last >= 0) {
        c->users[rank * c->blocks + h->last]++;
    }
    release_block(c, rank, block);
}

static int32_t *positions_of(const cache *c, int32_t rank, int64_t block)
{
    return c->positions + (rank * c->blocks + block) * SLOT_BLOCK;
}

/* --- sequences --- */

lariat_status sequence_open(cache *c, int64_t capacity, sequence *out)
{
    *out = (sequence){0};
    if (capacity > cache_most(c)) {
        return fail(LARIAT_NO_MEMORY,
                    "session: %lld positions do not fit into the KV cache, which has room for %lld; open the engine with a "
                    "larger context (-c)",
                    (long long)capacity, (long long)cache_most(c));
    }
    *out = (sequence){.capacity = capacity, .most = slots_for(c->n_ranks, capacity)};
    out->held = calloc((size_t)c->n_ranks, sizeof *out->held);
    TRY_MEMORY(out->held, "session: no memory for %d ranks" FREE_MEMORY, c->n_ranks);
    for (int32_t r = 0; r < c->n_ranks; r++) {
        out->held[r].last = -1;
    }
    return LARIAT_OK;
}

void sequence_close(cache *c, sequence *s)
{
    for (int32_t r = 0; s->held && r < c->n_ranks; r++) {
        release_block(c, r, s->held[r].last);
    }
    free(s->held);
    *s = (sequence){0};
}

int64_t sequence_room(const cache *c, const sequence *s, int32_t rank)
{
    int64_t used = s->held[rank].used, left = s->most - used;
    int64_t pool = whole_blocks(used) * SLOT_BLOCK - used + c->free_blocks[rank] * SLOT_BLOCK;

    return left < pool ? left : pool;
}

int64_t sequence_append(cache *c, sequence *s, int32_t rank, int64_t position)
{
    holding *h = &s->held[rank];
    int64_t at = h->used % SLOT_BLOCK;

    if (at == 0) {
        take_block(c, rank, h);
    }
    positions_of(c, rank, h->last)[at] = (int32_t)position;
    h->used++;
    return h->last * (int64_t)SLOT_BLOCK + at;
}

int32_t sequence_spans(const cache *c, const sequence *s, int32_t rank, slot_span out[], int64_t room)
{
    const int32_t *before = c->before + rank * c->blocks;
    int32_t n = 0, b = s->held[rank].last;

    for (int64_t left = s->held[rank].used, count; left > 0; left -= count, b = before[b]) { /* the last one first */
        count = (left - 1) % SLOT_BLOCK + 1;
        if (n && out[n - 1].slot == (b + 1) * (int64_t)SLOT_BLOCK) {
            out[n - 1].slot -= SLOT_BLOCK;
            out[n - 1].count += count;
        } else if (n == room) {
            return -1;
        } else {
            out[n++] = (slot_span){b * (int64_t)SLOT_BLOCK, count};
        }
    }
    for (int32_t i = 0; i < n / 2; i++) {
        slot_span other = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = other;
    }
    return n;
}

/* How many of a rank's last slots have the sequence's last positions, one after the other; at most `most`. */
static int64_t last_in_a_row(const cache *c, const sequence *s, int32_t rank, int64_t most)
{
    const holding *h = &s->held[rank];
    int64_t n = 0;

    most = most < h->used ? most : h->used;
    for (int32_t b = h->last; n < most; b = c->before[rank * c->blocks + b]) {
        const int32_t *positions = positions_of(c, rank, b);
        for (int64_t at = (h->used - n - 1) % SLOT_BLOCK; at >= 0 && n < most; at--) {
            if (positions[at] != s->length - 1 - n) {
                return n;
            }
            n++;
        }
    }
    return n;
}

/* By slices a rank gets whole blocks: the one that has the last positions gets the rest of its block; otherwise the next token
   looks for the least-filled rank. */
static void find_decode_rank(const cache *c, sequence *s)
{
    s->decode_left = 0;
    for (int32_t r = 0; r < c->n_ranks && c->n_ranks > 1; r++) {
        int64_t n = last_in_a_row(c, s, r, s->length - s->slices_from);
        if (n % DECODE_BLOCK) {
            s->decode_rank = r;
            s->decode_left = DECODE_BLOCK - n % DECODE_BLOCK;
        }
    }
}

void sequence_rewind(cache *c, sequence *s, int64_t length)
{
    for (int32_t r = 0; r < c->n_ranks; r++) {
        holding *h = &s->held[r];
        while (h->used && positions_of(c, r, h->last)[0] >= length) {
            drop_block(c, r, h);
        }
        while (h->used && positions_of(c, r, h->last)[(h->used - 1) % SLOT_BLOCK] >= length) {
            h->used--;
        }
    }
    s->length = length;
    s->slices_from = length < s->slices_from ? length : s->slices_from;
    find_decode_rank(c, s);
}

void sequence_restore(cache *c, sequence *s, const sequence *before)
{
    sequence_rewind(c, s, before->length);
    s->decode_rank = before->decode_rank;
    s->decode_left = before->decode_left;
    s->slices_from = before->slices_from;
}

/* --- sharing --- */

lariat_status sequence_fork(cache *c, const sequence *from, int64_t length, sequence *out)
{
    TRY(sequence_open(c, from->capacity, out));
    for (int32_t r = 0; r < c->n_ranks; r++) {
        out->held[r] = from->held[r];
        if (out->held[r].last >= 0) {
            c->users[r * c->blocks + out->held[r].last]++;
        }
    }
    out->length = from->length;
    out->slices_from = from->slices_from;
    sequence_rewind(c, out, length);
    return LARIAT_OK;
}

static bool ends_in_shared(const cache *c, const sequence *s, int32_t rank)
{
    const holding *h = &s->held[rank];

    return h->used % SLOT_BLOCK && c->users[rank * c->blocks + h->last] > 1;
}

bool sequence_is_shared(const cache *c, const sequence *s)
{
    for (int32_t r = 0; r < c->n_ranks; r++) {
        if (ends_in_shared(c, s, r)) {
            return true;
        }
    }
    return false;
}

bool sequence_unshare(cache *c, sequence *s, block_copy copies[])
{
    for (int32_t r = 0; r < c->n_ranks; r++) {
        if (ends_in_shared(c, s, r) && c->free_blocks[r] == 0) {
            return false;
        }
    }
    for (int32_t r = 0; r < c->n_ranks; r++) {
        holding *h = &s->held[r];
        int64_t count = h->used % SLOT_BLOCK;
        copies[r] = (block_copy){0};
        if (!ends_in_shared(c, s, r)) {
            continue;
        }
        int32_t shared = h->last;
        drop_block(c, r, h);
        take_block(c, r, h);
        memcpy(positions_of(c, r, h->last), positions_of(c, r, shared), (size_t)count * sizeof *c->positions);
        h->used += count;
        copies[r] = (block_copy){shared * (int64_t)SLOT_BLOCK, h->last * (int64_t)SLOT_BLOCK, count};
    }
    return true;
}

/* Codes go in words of four: the copy may take slots of the block that are not filled. */
void shard_copy(const shard *s, device *dev, const block_copy *what)
{
    bool codes = s->type == DTYPE_I8;
    dtype type = codes ? DTYPE_F32 : s->type;
    int64_t row = (int64_t)dtype_row_bytes(s->type, s->head_dim), element = (int64_t)dtype_block_bytes(type);
    int64_t head = s->slots * row / element, heads = 2 * s->n_layers * s->n_kv_heads;
    int64_t count = codes ? (what->count + 3) / 4 * 4 : what->count;

    dev->ops->copy(dev, type, s->base + what->to * row, head, s->base + what->from * row, head, heads, count * row / element,
                   false);
    if (codes) {
        dev->ops->copy(dev, DTYPE_F32, s->scales + what->to, s->slots, s->scales + what->from, s->slots, heads, what->count,
                       false);
    }
}
