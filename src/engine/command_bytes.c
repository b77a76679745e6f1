/* Commands as bytes: fields in their order, lists behind them.
   Rests on base/arena.h for sums of sizes. See command_bytes.h. */
#include "engine/command_bytes.h"

#include "base/arena.h"

#include <string.h>

/* --- fields --- */

static void move_bytes(command_bytes *b, void *field, size_t n)
{
    if (b->bad || n > b->room - b->at) {
        b->bad = true;
        return;
    }
    if (b->to) {
        memcpy(b->to + b->at, field, n);
    } else {
        memcpy(field, b->from + b->at, n);
    }
    b->at += n;
}

#define FIELD(x) move_bytes(b, &(x), sizeof(x))

/* A list of `*n` elements. A list that is read stays in place. */
static void move_list(command_bytes *b, const void **list, int64_t *n, size_t size)
{
    FIELD(*n);
    if (b->bad || *n < 0 || (uint64_t)*n > (b->room - b->at) / size) {
        b->bad = true;
        return;
    }
    if (b->to && *n) {
        memcpy(b->to + b->at, *list, (size_t)*n * size);
    } else if (!b->to) {
        *list = b->from + b->at;
    }
    b->at += (size_t)*n * size;
}

static void move_text(command_bytes *b, char text[COMMAND_TEXT_MOST + 1])
{
    int32_t n = b->to ? (int32_t)strnlen(text, COMMAND_TEXT_MOST) : 0;

    FIELD(n);
    if (b->bad || n < 0 || n > COMMAND_TEXT_MOST) {
        b->bad = true;
        return;
    }
    move_bytes(b, text, (size_t)n);
    if (!b->to) {
        text[n] = 0;
    }
}

/* An option that is one of `choices`. */
static void move_choice(command_bytes *b, int value, int choices, int32_t *out)
{
    *out = value;
    FIELD(*out);
    b->bad = b->bad || *out < 0 || *out >= choices;
    *out = b->bad ? 0 : *out;
}

static void move_options(command_bytes *b, lariat_options *o)
{
    int32_t kind[7];

    FIELD(o->chunk);
    FIELD(o->context);
    FIELD(o->sessions);
    move_choice(b, o->verify, 2, &kind[6]);
    move_choice(b, (int)o->device, LARIAT_DEVICE_CUDA + 1, &kind[0]);
    move_choice(b, (int)o->dtype, LARIAT_DTYPE_F32 + 1, &kind[1]);
    move_choice(b, (int)o->hops, LARIAT_HOPS_HOST + 1, &kind[2]);
    move_choice(b, (int)o->kv, LARIAT_KV_Q8 + 1, &kind[3]);
    move_choice(b, (int)o->layout, LARIAT_LAYOUT_SLICES + 1, &kind[4]);
    move_choice(b, (int)o->side, LARIAT_SIDE_Q + 1, &kind[5]);
    o->device = (lariat_device)kind[0];
    o->dtype = (lariat_dtype)kind[1];
    o->hops = (lariat_hops)kind[2];
    o->kv = (lariat_kv)kind[3];
    o->layout = (lariat_layout)kind[4];
    o->side = (lariat_side)kind[5];
    o->verify = kind[6] != 0;
}

/* --- commands --- */

static void move_sequence(command_bytes *b, command *c)
{
    FIELD(c->length);
    FIELD(c->slices_from);
    FIELD(c->decode_rank);
    FIELD(c->decode_left);
}

static void move_fields(command_bytes *b, command *c)
{
    switch (c->kind) {
    case TOLD_OPEN:
        move_options(b, &c->options);
        return;
    case TOLD_HOP:
        move_options(b, &c->options);
        FIELD(c->status);
        FIELD(c->length);
        FIELD(c->number);
        return;
    case TOLD_VERDICT:
        FIELD(c->status);
        move_text(b, c->text);
        return;
    case TOLD_SHARES:
        move_list(b, &c->items, &c->n_items, sizeof(host_share));
        return;
    case TOLD_SESSION_FORK:
        FIELD(c->other);
        FIELD(c->session);
        FIELD(c->length);
        return;
    case TOLD_SESSION_RESTORE:
        FIELD(c->session);
        move_sequence(b, c);
        return;
    case TOLD_SESSION_OPEN:
    case TOLD_SESSION_REWIND:
    case TOLD_TAKE_BACK:
        FIELD(c->session);
        FIELD(c->length);
        return;
    case TOLD_SESSION_CLOSE:
    case TOLD_UNSHARE:
        FIELD(c->session);
        return;
    case TOLD_TRACE:
    case TOLD_SPANS:
        FIELD(c->length);
        return;
    case TOLD_SUBMIT:
        FIELD(c->pass);
        FIELD(c->layout);
        FIELD(c->side);
        move_list(b, &c->items, &c->n_items, sizeof(told_item));
        move_list(b, &c->tokens, &c->n_tokens, sizeof(int32_t));
        return;
    case TOLD_RUN:
        FIELD(c->pass);
        FIELD(c->number);
        move_list(b, &c->tokens, &c->n_tokens, sizeof(int32_t));
        return;
    case TOLD_RESET:
    case TOLD_CONCLUDE:
    case TOLD_COUNT:
    case TOLD_TRACE_STOP:
    case TOLD_CLOCK:
    case TOLD_CLOSE:
    case TOLD_STOP:
        return;
    }
    b->bad = true;
}

static void move_command(command_bytes *b, command *c)
{
    int32_t kind = (int32_t)c->kind;

    FIELD(kind);
    c->kind = kind < TOLD_OPEN || kind > TOLD_STOP ? TOLD_STOP : (command_kind)kind;
    if (c->kind != (command_kind)kind) {
        b->bad = true;
        return;
    }
    move_fields(b, c);
}

bool command_write(command_bytes *b, const command *c)
{
    command copy = *c;
    size_t before = b->at;

    move_command(b, &copy);
    b->at = b->bad ? before : b->at;
    return !b->bad;
}

bool command_read(command_bytes *b, command *out)
{
    *out = (command){0};
    if (b->bad || b->at == b->room) {
        return false;
    }
    move_command(b, out);
    return !b->bad;
}

size_t command_pass_bytes(int64_t tokens, int64_t sessions)
{
    enum { FIXED = 256, A_SESSION = sizeof(told_item) + 2 * (sizeof(int32_t) * 3 + sizeof(int64_t)) };
    const size_t pieces[] = {FIXED, bytes_of(tokens, 1, sizeof(int32_t)), bytes_of(sessions, 1, A_SESSION)};

    return arena_sum(pieces, sizeof pieces / sizeof *pieces);
}

/* --- lists --- */

static void copy_list(const void *list, int64_t n, size_t size, void *out)
{
    if (n) {
        memcpy(out, list, (size_t)n * size);
    }
}

void command_items(const command *c, told_item out[])
{
    copy_list(c->items, c->n_items, sizeof *out, out);
}

void command_tokens(const command *c, int32_t out[])
{
    copy_list(c->tokens, c->n_tokens, sizeof *out, out);
}

void command_share(const command *c, int64_t index, host_share *out)
{
    memcpy(out, (const unsigned char *)c->items + (size_t)index * sizeof *out, sizeof *out);
}
