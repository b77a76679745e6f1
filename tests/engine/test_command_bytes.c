/* What process 0 tells the others, as bytes: what is written is read, and no bytes lead a reader outside of them. */
#include "engine/command_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 4096, TRIALS = TEST_QUICK ? 20000 : 200000 };

static uint64_t state = 1;

static uint32_t draw(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static const told_item items[2] = {{.session = 3, .count = 5, .n_logits = 2},
                                   {.session = 1, .read_by_host = 9, .count = 1, .chooses = 1,
                                    .setting = {.temperature = 0.5f, .uniform = 0.25}}};
static const int32_t tokens[6] = {7, 8, 9, 10, 11, -1};

/* One of each kind, with all of its fields. */
static command example(command_kind kind)
{
    command c = {.kind = kind};

    switch (kind) {
    case TOLD_OPEN:
        c.options = (lariat_options){.chunk = 77, .context = 1 << 20, .sessions = 3, .kv = LARIAT_KV_BF16,
                                     .side = LARIAT_SIDE_Q, .device = LARIAT_DEVICE_CPU, .layout = LARIAT_LAYOUT_SLICES,
                                     .verify = true};
        return c;
    case TOLD_VERDICT:
        c.status = LARIAT_NO_MEMORY;
        strcpy(c.text, "rank 1 (there): no memory");
        return c;
    case TOLD_SUBMIT:
        c.pass = 9;
        c.layout = 1;
        c.side = 1;
        c.items = items;
        c.n_items = 2;
        c.tokens = tokens;
        c.n_tokens = 6;
        return c;
    case TOLD_RUN:
        c.pass = 4;
        c.number = 5;
        c.tokens = tokens;
        c.n_tokens = 2;
        return c;
    case TOLD_SESSION_FORK:
        c.other = 2;
        c.session = 1;
        c.length = 40;
        return c;
    case TOLD_SESSION_RESTORE:
        c.session = 1;
        c.length = 50;
        c.slices_from = 40;
        c.decode_rank = 2;
        c.decode_left = 6;
        return c;
    case TOLD_SESSION_OPEN:
    case TOLD_SESSION_REWIND:
    case TOLD_TAKE_BACK:
        c.session = 1;
        c.length = INT64_C(1) << 40;
        return c;
    case TOLD_SESSION_CLOSE:
    case TOLD_UNSHARE:
        c.session = 1;
        return c;
    case TOLD_TRACE:
    case TOLD_SPANS:
        c.length = 3;
        return c;
    case TOLD_HOP:
        c.options = example(TOLD_OPEN).options;
        c.status = 1;
        c.length = 4096;
        c.number = 20;
        return c;
    default:
        return c;
    }
}

static size_t write_all(unsigned char *to, size_t room)
{
    command_bytes b = {.to = to, .room = room};

    for (int kind = TOLD_OPEN; kind <= TOLD_STOP; kind++) {
        command c = example((command_kind)kind);
        assert_true(command_write(&b, &c));
    }
    return b.at;
}

static void assert_lists_equal(const command *read, const command *written)
{
    told_item got[2];
    int32_t ids[6];

    assert_int_equal(read->n_tokens, written->n_tokens);
    assert_int_equal(read->n_items, written->n_items);
    command_items(read, got);
    command_tokens(read, ids);
    for (int i = 0; i < read->n_items; i++) {
        assert_int_equal(got[i].session, items[i].session);
        assert_int_equal(got[i].read_by_host, items[i].read_by_host);
        assert_int_equal(got[i].count, items[i].count);
        assert_int_equal(got[i].n_logits, items[i].n_logits);
        assert_int_equal(got[i].chooses, items[i].chooses);
        assert_memory_equal(&got[i].setting, &items[i].setting, sizeof got[i].setting);
    }
    assert_memory_equal(ids, tokens, (size_t)read->n_tokens * sizeof *ids);
}

static void every_command_is_read_as_it_was_written(void **unused)
{
    unsigned char bytes[BYTES];
    command_bytes b = {.from = bytes, .room = write_all(bytes, sizeof bytes)};
    command c;

    (void)unused;
    for (int kind = TOLD_OPEN; kind <= TOLD_STOP; kind++) {
        command e = example((command_kind)kind);
        assert_true(command_read(&b, &c));
        assert_int_equal(c.kind, kind);
        assert_int_equal(c.session, e.session);
        assert_int_equal(c.other, e.other);
        assert_int_equal(c.length, e.length);
        assert_int_equal(c.slices_from, e.slices_from);
        assert_int_equal(c.decode_rank, e.decode_rank);
        assert_int_equal(c.decode_left, e.decode_left);
        assert_int_equal(c.status, e.status);
        assert_string_equal(c.text, e.text);
        assert_int_equal(c.pass, e.pass);
        assert_int_equal(c.number, e.number);
        assert_int_equal(c.layout, e.layout);
        assert_int_equal(c.side, e.side);
        assert_memory_equal(&c.options, &e.options, sizeof c.options);
        assert_lists_equal(&c, &e);
    }
    assert_false(command_read(&b, &c));
    assert_false(b.bad);
}

static void a_command_without_room_is_not_begun(void **unused)
{
    unsigned char bytes[BYTES];
    command c = example(TOLD_SUBMIT);

    (void)unused;
    for (size_t room = 0;; room++) {
        command_bytes b = {.to = bytes, .room = room};
        memset(bytes, 0x5a, sizeof bytes);
        bool fits = command_write(&b, &c);
        for (size_t i = room; i < sizeof bytes; i++) {
            assert_int_equal(bytes[i], 0x5a);
        }
        assert_true(fits || b.at == 0);
        if (fits) {
            assert_int_equal(b.at, room);
            return;
        }
    }
}

static void the_room_for_a_pass_holds_one(void **unused)
{
    enum { MOST = 40 };
    told_item many[MOST] = {0};
    int32_t ids[MOST] = {0};
    size_t room = command_pass_bytes(MOST, MOST);
    unsigned char *bytes = malloc(room);
    command_bytes b = {.to = bytes, .room = room};

    (void)unused;
    assert_non_null(bytes);
    command one = {.kind = TOLD_SUBMIT, .items = many, .n_items = MOST, .tokens = ids, .n_tokens = MOST};
    assert_true(command_write(&b, &one));
    assert_true(command_write(&b, &(command){.kind = TOLD_RUN, .tokens = ids, .n_tokens = MOST}));
    assert_true(command_write(&b, &(command){.kind = TOLD_CONCLUDE}));
    free(bytes);
    assert_int_equal(command_pass_bytes(INT64_MAX, 1), SIZE_MAX);
}

/* The lists of what was read lie in the message: copying them reads its bytes only, which the sanitizers check. */
static void read_to_the_end(const unsigned char *from, size_t n)
{
    unsigned char *exact = malloc(n ? n : 1);
    command_bytes b = {.from = exact, .room = n};
    command c;

    assert_non_null(exact);
    memcpy(exact, from, n);
    while (command_read(&b, &c)) {
        host_share share;
        int32_t *ids = malloc((size_t)c.n_tokens * sizeof *ids + 1);
        told_item *all = malloc((size_t)c.n_items * sizeof *all + 1);
        assert_true(ids && all);
        command_tokens(&c, ids);
        for (int64_t i = 0; i < c.n_items && c.kind == TOLD_SHARES; i++) {
            command_share(&c, i, &share);
        }
        if (c.kind != TOLD_SHARES) {
            command_items(&c, all);
        }
        free(ids);
        free(all);
        assert_in_range(c.kind, TOLD_OPEN, TOLD_STOP);
        assert_true(strlen(c.text) <= COMMAND_TEXT_MOST);
    }
    assert_true(b.at <= n);
    free(exact);
}

static void random_bytes_are_read_without_leaving_them(void **unused)
{
    unsigned char bytes[256];

    (void)unused;
    for (int trial = 0; trial < TRIALS; trial++) {
        size_t n = draw() % (sizeof bytes + 1);
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (unsigned char)(draw() % 4 ? 0 : draw());
        }
        if (n > sizeof(int32_t)) {
            int32_t kind = (int32_t)(draw() % (TOLD_STOP + 3));
            memcpy(bytes, &kind, sizeof kind);
        }
        read_to_the_end(bytes, n);
    }
}

static void messages_with_some_bytes_changed_are_read_without_leaving_them(void **unused)
{
    unsigned char bytes[BYTES], changed[BYTES];
    size_t n = write_all(bytes, sizeof bytes);

    (void)unused;
    for (int trial = 0; trial < TRIALS; trial++) {
        memcpy(changed, bytes, n);
        for (uint32_t i = draw() % 4; i < 4; i++) {
            changed[draw() % n] = (unsigned char)draw();
        }
        read_to_the_end(changed, draw() % 4 ? n : draw() % n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_read_as_it_was_written),
        cmocka_unit_test(a_command_without_room_is_not_begun),
        cmocka_unit_test(the_room_for_a_pass_holds_one),
        cmocka_unit_test(random_bytes_are_read_without_leaving_them),
        cmocka_unit_test(messages_with_some_bytes_changed_are_read_without_leaving_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
