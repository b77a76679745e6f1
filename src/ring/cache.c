/* Shards, sequences and the slots that they reserve.
   Rests on device/device.h for memory. See cache.h; passes over sequences are planned in pass.c. */
#include "ring/cache.h"

#include <stdlib.h>
#include <string.h>

size_t shard_need(int64_t n_layers, int32_t n_kv_heads, int32_t head_dim, int64_t slots, dtype type)
{
    size_t row = bytes_of(n_kv_heads, head_dim, dtype_block_bytes(type));
    size_t side = row == SIZE_MAX ? SIZE_MAX : bytes_of(slots, 1, row);

    return side > SIZE_MAX / 2 ? SIZE_MAX : bytes_of(2, n_layers, side);
}

lariat_status shard_open(shard *s, device *dev, int64_t n_layers, int32_t n_kv_heads, int32_t head_dim, int64_t slots,
                         dtype type)
{
    size_t need = shard_need(n_layers, n_kv_heads, head_dim, slots, type);

    *s = (shard){.type = type, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .slots = slots, .bytes = need};
    TRY(device_arena_open(dev, &s->memory, need, "KV shard"));
    s->side_bytes = need / 2 / (size_t)n_layers;
    s->base = arena_take(&s->memory, 0);
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

/* --- slots --- */

static int64_t whole_blocks(int64_t slots)
{
    return (slots + SLOT_BLOCK - 1) / SLOT_BLOCK;
}

int64_t cache_slots_for(int n_ranks, int64_t capacity)
{
    int64_t share = (capacity + n_ranks - 1) / n_ranks;
    int64_t ahead = n_ranks > 1 ? DECODE_BLOCK : 0;
    int64_t slots = share + ahead < capacity ? share + ahead : capacity;

    return whole_blocks(slots) * SLOT_BLOCK;
}

int64_t cache_extents(int64_t slots, int32_t sessions)
{
    return sessions == 1 ? 1 : whole_blocks(slots); /* a sequence alone finds all slots in one piece */
}

/* Takes the tables of blocks from their arena, or from one that counts. */
static void take_tables(cache *c)
{
    c->taken = arena_take(&c->memory, bytes_of(c->n_ranks, c->blocks, sizeof *c->taken));
    c->free_blocks = arena_take(&c->memory, bytes_of(c->n_ranks, 1, sizeof *c->free_blocks));
}

static size_t tables_bytes(cache c)
{
    arena_count(&c.memory);
    take_tables(&c);
    return c.memory.used;
}

size_t cache_table_bytes(int32_t n_ranks, int64_t slots, int32_t sessions)
{
    const size_t pieces[] = {
        tables_bytes((cache){.n_ranks = n_ranks, .blocks = whole_blocks(slots)}),
        bytes_of(n_ranks, sessions, sizeof(holding)),
        bytes_of(n_ranks, cache_extents(slots, sessions), sizeof(slot_span)),
        bytes_of(n_ranks, whole_blocks(slots) * SLOT_BLOCK, sizeof(int32_t)), /* positions */
    };

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

int64_t cache_room(const cache *c)
{
    int64_t least = c->blocks;

    for (int32_t r = 0; r < c->n_ranks; r++) {
        least = c->free_blocks[r] < least ? c->free_blocks[r] : least;
    }
    /* The largest capacity whose slots fit: cache_slots_for grows with it. */
    int64_t low = 0, high = least * SLOT_BLOCK * c->n_ranks;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (cache_slots_for(c->n_ranks, middle) <= least * SLOT_BLOCK) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

/* The run of free blocks from `from` on, at most `most` long: its begin in *begin. Returns its length, 0 at the end. */
static int64_t next_free_run(const cache *c, int32_t rank, int64_t from, int64_t most, int64_t *begin)
{
    const unsigned char *taken = c->taken + rank * c->blocks;
    int64_t b = from, n = 0;

    while (b < c->blocks && taken[b]) {
        b++;
    }
    *begin = b;
    while (b + n < c->blocks && !taken[b + n] && n < most) {
        n++;
    }
    return n;
}

/* Takes `blocks` free blocks of a rank, lowest first, as extents. The caller has checked that there are so many. */
static lariat_status reserve(cache *c, int32_t rank, int64_t blocks, holding *h)
{
    int64_t begin = 0, count, left;
    size_t extents = 0;

    for (left = blocks; left; left -= count, begin += count) {
        count = next_free_run(c, rank, begin, left, &begin);
        extents++;
    }
    h->extents = calloc(extents + 1, sizeof *h->extents);
    h->positions = malloc((size_t)(blocks * SLOT_BLOCK + 1) * sizeof *h->positions);
    TRY_MEMORY(h->extents && h->positions, "session: no memory for a table of %lld slots" FREE_MEMORY,
               (long long)(blocks * SLOT_BLOCK));
    for (left = blocks, begin = 0; left; left -= count, begin += count) {
        count = next_free_run(c, rank, begin, left, &begin);
        memset(c->taken + rank * c->blocks + begin, 1, (size_t)count);
        h->extents[h->n_extents++] = (slot_span){begin * SLOT_BLOCK, count * SLOT_BLOCK};
    }
    h->room = blocks * SLOT_BLOCK;
    c->free_blocks[rank] -= blocks;
    return LARIAT_OK;
}

lariat_status sequence_open(cache *c, int64_t capacity, sequence *out)
{
    *out = (sequence){.capacity = capacity};
    if (capacity > cache_room(c)) {
        return fail(
            LARIAT_NO_MEMORY,
            "session: %lld positions do not fit into the KV cache, which has room for %lld more; open the engine with a "
            "larger context (-c) or close a session",
            (long long)capacity, (long long)cache_room(c));
    }
    int64_t blocks = cache_slots_for(c->n_ranks, capacity) / SLOT_BLOCK;
    out->held = calloc((size_t)c->n_ranks, sizeof *out->held);
    TRY_MEMORY(out->held, "session: no memory for %d ranks" FREE_MEMORY, c->n_ranks);
    for (int32_t r = 0; r < c->n_ranks; r++) {
        lariat_status status = reserve(c, r, blocks, &out->held[r]);
        if (status != LARIAT_OK) {
            sequence_close(c, out);
            return status;
        }
    }
    return LARIAT_OK;
}

void sequence_close(cache *c, sequence *s)
{
    for (int32_t r = 0; s->held && r < c->n_ranks; r++) {
        holding *h = &s->held[r];
        for (int32_t i = 0; i < h->n_extents; i++) {
            int64_t block = h->extents[i].slot / SLOT_BLOCK, count = h->extents[i].count / SLOT_BLOCK;
            memset(c->taken + r * c->blocks + block, 0, (size_t)count);
            c->free_blocks[r] += count;
        }
        free(h->extents);
        free(h->positions);
    }
    free(s->held);
    *s = (sequence){0};
}

/* By slices a rank gets whole blocks: the one that has the last positions gets the rest of its block; otherwise the next token
   looks for the least-filled rank. */
static void find_decode_rank(sequence *s, int32_t n_ranks)
{
    s->decode_left = 0;
    for (int32_t r = 0; r < n_ranks && n_ranks > 1; r++) {
        const holding *h = &s->held[r];
        int64_t n = 0, most = h->used < s->length - s->slices_from ? h->used : s->length - s->slices_from;
        while (n < most && h->positions[h->used - 1 - n] == s->length - 1 - n) {
            n++;
        }
        if (n % DECODE_BLOCK) {
            s->decode_rank = r;
            s->decode_left = DECODE_BLOCK - n % DECODE_BLOCK;
        }
    }
}

void sequence_rewind(sequence *s, int32_t n_ranks, int64_t length)
{
    for (int32_t r = 0; r < n_ranks; r++) {
        holding *h = &s->held[r];
        int64_t low = 0, high = h->used; /* slots below `low` stay */
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if (h->positions[middle] < length) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        h->used = low;
    }
    s->length = length;
    s->slices_from = length < s->slices_from ? length : s->slices_from;
    find_decode_rank(s, n_ranks);
}

void sequence_restore(sequence *s, int32_t n_ranks, const sequence *before)
{
    sequence_rewind(s, n_ranks, before->length);
    s->decode_rank = before->decode_rank;
    s->decode_left = before->decode_left;
    s->slices_from = before->slices_from;
}

lariat_status sequence_fork(cache *c, const sequence *from, int64_t length, sequence *out)
{
    TRY(sequence_open(c, from->capacity, out));
    for (int32_t r = 0; r < c->n_ranks; r++) {
        memcpy(out->held[r].positions, from->held[r].positions,
               (size_t)from->held[r].used * sizeof *from->held[r].positions);
        out->held[r].used = from->held[r].used;
    }
    out->length = from->length;
    out->slices_from = from->slices_from;
    sequence_rewind(out, c->n_ranks, length);
    return LARIAT_OK;
}

/* Slot i of the sequence, and how many follow it in its extent. */
static slot_span slots_from(const holding *h, int64_t i)
{
    const slot_span *extent = h->extents;

    for (; i >= extent->count; extent++) {
        i -= extent->count;
    }
    return (slot_span){extent->slot + i, extent->count - i};
}

void shard_copy(const shard *s, device *dev, const holding *from, const holding *to)
{
    int64_t slot = s->head_dim, head = s->slots * slot, element = (int64_t)dtype_block_bytes(s->type);
    int64_t heads = (int64_t)s->bytes / (head * element); /* of all layers, K and V */

    for (int64_t at = 0, count; at < to->used; at += count) {
        slot_span a = slots_from(from, at), b = slots_from(to, at);
        count = a.count < b.count ? a.count : b.count;
        count = count < to->used - at ? count : to->used - at;
        dev->ops->copy(dev, s->type, s->base + b.slot * slot * element, head, s->base + a.slot * slot * element, head, heads,
                       count * slot, false);
    }
}
