/* --no-bind on its way to the library, and the plan's line on the nodes to which ranks are bound.
   Rests on the program's own files. */
#include "cli/options.h"
#include "cli/plan_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool binds(int argc, const char *const given[])
{
    char *argv[8];
    options o;

    for (int i = 0; i < argc; i++) {
        argv[i] = strdup(given[i]);
    }
    assert_int_equal(options_parse(argc, argv, &o), 0);
    bool result = !plan_options(&o, 1, 1).no_bind;
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return result;
}

static void no_bind_reaches_the_library(void **state)
{
    static const char *const commands[] = {"generate", "chat", "inspect", "bench"};

    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *given[] = {"lariat", commands[i], "-m", "x", "--no-bind"};
        assert_true(binds(4, given));
        assert_false(binds(5, given));
    }
    const char *hops[] = {"lariat", "bench", "--hops", "--ranks", "2", "--no-bind"};
    assert_true(binds(5, hops));
    assert_false(binds(6, hops));
}

static void assert_described(int32_t nodes, const char *line)
{
    lariat_plan plan = {.dtype = "f32", .kv = "f16", .ranks = 2, .threads = 8, .nodes = nodes, .chunk = 1024};
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    assert_non_null(f);
    plan_describe(&plan, "", f);
    fclose(f);
    assert_true(line ? strstr(text, line) != NULL : strstr(text, "NUMA") == NULL);
    free(text);
    json_t *object = plan_json(&plan);
    assert_int_equal(json_integer_value(json_object_get(object, "nodes")), nodes);
    json_decref(object);
}

static void a_plan_tells_of_nodes_where_ranks_are_bound(void **state)
{
    (void)state;
    assert_described(0, NULL);
    assert_described(1, "ranks are bound to 1 NUMA node\n");
    assert_described(2, "ranks are bound to 2 NUMA nodes\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_bind_reaches_the_library),
        cmocka_unit_test(a_plan_tells_of_nodes_where_ranks_are_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
