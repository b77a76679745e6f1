/* A document read around a member, and the member value by value, are what jansson reads at once, and refused where it refuses.
   Rests on jansson. */
#include "base/json_member.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What json_each hands out, put together again. */
static lariat_status collect(void *user, const char *key, const json_t *value)
{
    json_t *into = user;

    if (key) {
        json_object_set(into, key, (json_t *)value);
    } else {
        json_array_append(into, (json_t *)value);
    }
    return LARIAT_OK;
}

/* The whole document by way of the part, or NULL. `count` is what the part says of itself. */
static json_t *by_parts(const char *text, size_t size, int64_t *count)
{
    json_member part;
    json_error_t error;
    json_t *root = json_load_around(text, size, "p", 0, &part, &error);

    *count = part.n;
    if (root && part.begin) {
        char open = *part.begin;
        json_t *member = open == '[' ? json_array() : json_object();
        assert_true(json_is_null(json_object_get(root, "p")));
        if (json_each("text", &part, open, collect, member) == LARIAT_OK) {
            json_object_set_new(root, "p", member);
        } else {
            assert_non_null(strstr(lariat_error(), "text: "));
            json_decref(member);
            json_decref(root);
            root = NULL;
        }
    }
    return root;
}

static void the_parts_are_the_whole(void **state)
{
    static const struct {
        const char *text;
        int64_t n;
    } documents[] = {
        { "{\"a\": 1, \"p\": [1, \"two\", {\"three\": [3]}, null, -4e1], \"z\": {}}", 5 },
        { " {\"p\" :\n{ \"k\\\"]\" : [ \"}\\\\\" ] , \"\\u00e9\":{\"p\":[]} } } ", 2 },
        { "{\"p\":[]}", 0 },
        { "{\"p\":{ }}", 0 },
        { "{\"p\": 7}", 0 },
        { "{\"q\": {\"p\": [1]}}", 0 },
        { "{}", 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        const char *text = documents[i].text;
        json_error_t error;
        int64_t n;
        json_t *whole = json_loads(text, 0, &error), *parts = by_parts(text, strlen(text), &n);
        assert_non_null(whole);
        assert_non_null(parts);
        assert_true(json_equal(whole, parts));
        assert_int_equal(n, documents[i].n);
        json_decref(whole);
        json_decref(parts);
    }
}

/* A key that is written with escapes would be overlooked in the text, so it is refused. */
static void a_member_in_disguise_is_refused(void **state)
{
    static const char text[] = "{\"\\u0070\": [1]}";
    json_member part;
    json_error_t error;
    json_t *root;

    (void)state;
    memset(&error, json_error_out_of_memory, sizeof error); /* what a caller's stack may hold */
    root = json_load_around(text, strlen(text), "p", 0, &part, &error);
    assert_null(root);
    assert_int_equal(json_check("name.json", root, &error, &root), LARIAT_BAD_MODEL);
    assert_string_equal(lariat_error(), "name.json: cannot be read: \"p\" is written with escapes" FETCH_AGAIN);
}

/* Documents with a byte or two changed, most of them broken: both readings agree on which. */
static void broken_documents_are_those_that_jansson_refuses(void **state)
{
    static const char original[] = "{\"a\":[1,{\"b\":2}],\"p\":[{\"c\":\"x\\\"]\"},[3,4],true],\"d\":\"e\"}";
    static const char object[] = "{\"a\":[1,{\"b\":2}],\"p\":{\"f\":{\"c\":\"x\\\"]\"},\"g\":[3,4]},\"d\":\"e\"}";
    static const char alphabet[] = "[]{}\",:\\1p e";
    uint64_t random = 7;
    int accepted = 0, refused = 0;

    (void)state;
    for (int round = 0; round < 60000; round++) {
        char text[sizeof original + sizeof object];
        size_t size = strlen(strcpy(text, round % 2 ? original : object));
        for (int change = 0; change <= round % 3; change++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            text[(random >> 40) % size] = alphabet[(random >> 20) % (sizeof alphabet - 1)];
        }
        json_error_t error;
        int64_t n;
        json_t *whole = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error), *parts = by_parts(text, size, &n);
        if (!whole && parts && json_error_code(&error) == json_error_duplicate_key) { /* of the part: who reads it sees both */
            json_decref(parts);
            continue;
        }
        if ((whole != NULL) != (parts != NULL) || (whole && !json_equal(whole, parts))) {
            print_message("%.*s\n", (int)size, text);
        }
        assert_int_equal(whole != NULL, parts != NULL);
        assert_true(!whole || json_equal(whole, parts));
        accepted += whole != NULL;
        refused += whole == NULL;
        json_decref(whole);
        json_decref(parts);
    }
    assert_true(accepted > 1000 && refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_are_the_whole),
        cmocka_unit_test(a_member_in_disguise_is_refused),
        cmocka_unit_test(broken_documents_are_those_that_jansson_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
