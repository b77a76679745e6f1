/* Chat templates: published ones give the texts that jinja2 made of them (needs reference/templates, a skip without); bounds
   hold, and what is not known is named with its line. Rests on support/reference.h. */
#include "base/file.h"
#include "support/reference.h"
#include "support/scratch.h"
#include "text/jinja/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static lariat_status render(const char *source, const char *messages, jinja_output *out)
{
    json_t *list = json_loads(messages, 0, NULL);
    jinja_input in = {.source = source, .size = strlen(source), .messages = list, .bos = "<s>"};
    lariat_status status;

    assert_non_null(list);
    status = jinja_render(&in, out);
    json_decref(list);
    return status;
}

static void is_refused(const char *source, const char *why)
{
    jinja_output out;

    assert_refused(render(source, "[]", &out), LARIAT_BAD_ARGUMENT, why);
    jinja_output_free(&out);
}

/* --- references --- */

static void check_row(const char *folder, const json_t *row)
{
    static const struct tm now = {
        .tm_year = 126, .tm_mon = 10, .tm_mday = 27, .tm_hour = 12, .tm_min = 34, .tm_sec = 56, .tm_wday = 5, .tm_yday = 330};
    const char *name = json_string_value(json_object_get(row, "template")),
               *one = json_string_value(json_object_get(row, "case"));
    const json_t *wanted = json_object_get(row, "text");
    char path[4096];
    mapped_file f;
    jinja_output out;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_accepted(map_file(path, &f));
    jinja_input in = {.source = (const char *)f.data,
                      .size = f.size,
                      .messages = json_object_get(row, "messages"),
                      .variables = json_object_get(row, "variables"),
                      .now = &now};
    lariat_status status = jinja_render(&in, &out);
    bool same = wanted ? status == LARIAT_OK && out.text.size == json_string_length(wanted) &&
                             memcmp(out.text.data, json_string_value(wanted), out.text.size) == 0
                       : status != LARIAT_OK;
    if (!same) {
        fail_msg("%s, %s: %s", name, one, status == LARIAT_OK ? out.text.data : lariat_error());
    }
    jinja_output_free(&out);
    unmap_file(&f);
}

static void published_templates_give_jinja2s_texts_and_errors(void **state)
{
    char *folder = reference_path("reference/templates"), *path = reference_path("reference/templates/expected.json");
    json_t *rows, *row;
    size_t i;

    (void)state;
    if (!folder || !path) {
        print_message("skipped: reference/templates is not on this machine\n");
        skip();
    }
    rows = json_load_file(path, JSON_ALLOW_NUL, NULL);
    assert_true(json_array_size(rows) > 0);
    json_array_foreach(rows, i, row)
    {
        check_row(folder, row);
    }
    json_decref(rows);
    free(folder);
    free(path);
}

/* --- origins --- */

static void every_byte_keeps_its_origin_through_filters_and_methods(void **state)
{
    static const char source[] = "{{ ('<' + messages[0].content.strip() ~ '>')|replace('b', 'B')|upper }}{{ messages[0].role }}"
                                 "{{ messages[0].content.split('b')|join('-') }}{{ bos_token }}{{ messages|length }}";
    static const char text[] = "<ABC>usera-c<s>1", origins[] = "\1\0\1\0\1\1\1\1\1\0\1\0\1\1\1\1";
    jinja_output out;

    (void)state;
    assert_accepted(render(source, "[{\"role\": \"user\", \"content\": \"abc \"}]", &out));
    /* split keeps the blank behind c */
    assert_int_equal(out.text.size, sizeof text);
    assert_memory_equal(out.text.data, "<ABC>usera-c <s>1", sizeof text);
    assert_memory_equal(out.origins.data, origins, 11);
    assert_memory_equal(out.origins.data + 11, "\0\0\1\1\1\1", 6);
    jinja_output_free(&out);
}

static void has_origin(const char *source, const char *messages, const char *text, int origin)
{
    jinja_output out;

    assert_accepted(render(source, messages, &out));
    assert_string_equal(out.text.data, text);
    for (size_t i = 0; i < out.text.size; i++) {
        assert_int_equal(out.origins.data[i], origin);
    }
    jinja_output_free(&out);
}

static void names_and_forms_from_messages_stay_foreign(void **state)
{
    static const char messages[] = "[{\"role\": \"user\", \"content\": {\"<s>\": 1}, \"form\": \"<s>\"}]";

    (void)state;
    has_origin("{% for k in dict(**messages[0].content) %}{{ k }}{% endfor %}", messages, "<s>", ORIGIN_FOREIGN);
    has_origin("{% macro m() %}{% for k in kwargs %}{{ k }}{% endfor %}{% endmacro %}{{ m(**messages[0].content) }}", messages,
               "<s>", ORIGIN_FOREIGN);
    has_origin("{% for k in dict(a=1, **{'<s>': 2}) %}{{ k }}{% endfor %}", messages, "a<s>", ORIGIN_TEMPLATE);
    has_origin("{% macro m() %}{% for k in kwargs %}{{ k }}{% endfor %}{% endmacro %}{% call m() %}x{% endcall %}", messages,
               "caller", ORIGIN_TEMPLATE);
    has_origin("{{ strftime_now(messages[0].form) }}", messages, "<s>", ORIGIN_FOREIGN);
    has_origin("{{ strftime_now('<s>') }}", messages, "<s>", ORIGIN_TEMPLATE);
}

static void a_time_that_is_too_long_is_refused(void **state)
{
    (void)state;
    is_refused("{{ strftime_now('%c' * 100) }}", "longer than");
    has_origin("{{ strftime_now('') }}", "[]", "", ORIGIN_TEMPLATE);
}

/* --- bounds and refusals --- */

static void no_jump_leads_out_of_a_generation(void **state)
{
    (void)state;
    is_refused("{% for a in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
               "line 1: break or continue outside");
}

static void a_missing_end_is_named_with_the_line_that_wants_it(void **state)
{
    (void)state;
    is_refused("a\n{% for m in messages %}x\n", "the template ends without the 'endfor' that line 2 wants");
    is_refused("{% for m in messages %}x{% else %}y", "the template ends without the 'endfor' that line 1 wants");
    is_refused("{% if x %}a{% elif y %}b", "the template ends without the 'endif' that line 1 wants");
    is_refused("{% macro m() %}\n{% set a %}\n{% endset %}b", "the template ends without the 'endmacro' that line 1 wants");
    is_refused("{% if x %}a\n{% endfor %}",
               "line 2: the tag 'endfor' is not known here: line 1 wants 'endif', 'elif', 'else'");
    is_refused("{% for a in [] %}\n{% if x %}{% endif %}\n{% endif %}",
               "line 3: the tag 'endif' is not known here: line 1 wants 'endfor', 'else'");
    is_refused("{% if x %}{% else %}{% elif y %}", "'elif' is not known here: line 1 wants 'endif'");
    is_refused("x{% endif %}", "line 1: the tag 'endif' is not known here");
}

static void what_does_not_end_is_refused(void **state)
{
    (void)state;
    is_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "steps within steps");
    is_refused("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", "more than");
    is_refused("{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "MiB");
    is_refused("{{ 'a' * 9999999999 }}", "more than");
    is_refused("{% set ns = namespace(x=[]) %}{% for a in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
               "nested");
    is_refused("{{ range(1000000) }}", "range");
}

static void work_without_output_is_counted(void **state)
{
    (void)state;
    is_refused("{{ 'a'|map(*('map,'*100000).split(','))|list }}", "filters within filters");
    is_refused("{% set a = 'a'*4000000 %}{% for i in range(99999) %}{% if a.strip(a) %}{% endif %}{% endfor %}", "steps");
    is_refused("{% set a = 'a'*4000000 %}{{ a.rfind('b' ~ 'a'*2000000) }}", "steps");
    is_refused("{{ ('a'*4000000).rsplit('b' ~ 'a'*2000000) }}", "steps");
    is_refused("{% set a = '1'*4000000 %}{% for i in range(99999) %}{% if a.isdigit() %}{% endif %}{% endfor %}", "steps");
    is_refused("{% set a = 'a'*4000000 %}{% for i in range(99999) %}{% if a.splitlines() %}{% endif %}{% endfor %}", "steps");
    is_refused("{% set a = 'a'*4000000 %}{% for i in range(99999) %}{% if a.endswith(a) %}{% endif %}{% endfor %}", "steps");
    is_refused("{% set a = ' '*4000000 %}{% for i in range(99999) %}{% if a|int %}{% endif %}{% endfor %}", "steps");
    is_refused("{{ [{}]|map(attribute='.'*4000000)|list }}", "steps");
    is_refused("{% set a = range(99999)|list %}{% for i in range(99999) %}{% if -1 in a %}{% endif %}{% endfor %}", "steps");
    is_refused("{% set a = range(99999)|list %}{% for i in range(99999) %}{% if a|reject %}{% endif %}{% endfor %}", "steps");
    is_refused("{% set a = (1,)*99999 %}{% for i in range(99999) %}{% if a in {} %}{% endif %}{% endfor %}", "steps");
}

/* As many names as a template may have: each look-up passes them all. */
static void names_looked_at_are_counted(void **state)
{
    enum { NAMES = 20000 };
    buffer source = {0};
    jinja_output out;
    char set[32];

    (void)state;
    for (int i = 0; i < NAMES; i++) {
        snprintf(set, sizeof set, "{%% set a%d=1 %%}", i);
        assert_accepted(buffer_append(&source, set, strlen(set)));
    }
    static const char loop[] = "{% for i in range(90000) %}{{ no }}{{ no }}{{ no }}{% endfor %}";
    assert_accepted(buffer_append(&source, loop, sizeof loop - 1));
    assert_accepted(buffer_terminate(&source));
    assert_refused(render(source.data, "[]", &out), LARIAT_BAD_ARGUMENT, "steps");
    jinja_output_free(&out);
    buffer_free(&source);
}

static void deep_sources_are_refused(void **state)
{
    char source[2048];

    (void)state;
    memset(source, '(', sizeof source - 1);
    memcpy(source, "{{", 2);
    source[sizeof source - 1] = '\0';
    is_refused(source, "brackets within brackets");
    for (size_t i = 2; i + 8 < sizeof source; i += 4) {
        memcpy(source + i, "not ", 5);
        memcpy(source + i + 4, "1}}", 4);
    }
    is_refused(source, "constructs within constructs");
}

static void an_unknown_construct_is_named_with_its_line(void **state)
{
    (void)state;
    is_refused("a\nb{% include 'x' %}", "line 2: the tag 'include'");
    is_refused("\n\n{{ 1|nosuch }}", "line 3: there is no filter 'nosuch'");
    is_refused("\n{{ 1 is nosuch }}", "line 2: there is no test 'nosuch'");
    is_refused("\n{% for a in [1] recursive %}{% endfor %}", "line 2: a recursive loop");
    is_refused("{{ 'a'.encode() }}", "str.encode is not supported");
    is_refused("\n\n\n{{ nosuch() }}", "line 4: 'nosuch' is undefined");
    is_refused("{% if x %}\n", "endif");
    is_refused("{{ 'a' }", "line 1");
    is_refused("{{ '%d' % 1e30 }}", "an integer of 64 bits");
    is_refused("{{ '%#x' % 1 }}", "%#x of a number");
    is_refused("{{ '%1.2.3f' % 1 }}", "unsupported format '%1.2.3f'");
    is_refused("\n{{ '%.999f' % 1 }}", "line 2: unsupported format '%.999f'");
    is_refused("{{ 'a%5cb' % 65 }}", "unsupported format '%5c'");
    is_refused("{{ '%\u00e9' % 1 }}", "unsupported format '%\u00e9'");
    is_refused("{{ '%*d' % (3, 1) }}", "unsupported format '%*'");
    is_refused("{{ '5%' % 1 }}", "unsupported format '%'");
    is_refused("{{ '%(a)s' % {'b': 1} }}", "% has no value for 'a'");
    is_refused("{{ '17'|int(base=8) }}", "bases other than 10 and 16");
    is_refused("{{ 1.5|round(-1) }}", "a negative precision");
    is_refused("{{ (-8.0) ** 0.5 }}", "a complex number");
    is_refused("{{ [{}]|sort(attribute='b,a') }}", "several attributes");
}

/* jinja2 looks for filters of a branch when it is taken. */
static void an_unknown_filter_in_a_branch_is_refused_when_it_is_reached(void **state)
{
    jinja_output out;

    (void)state;
    assert_accepted(render("{% if messages %}{{ 1|nosuch }}{% endif %}b", "[]", &out));
    assert_string_equal(out.text.data, "b");
    jinja_output_free(&out);
    is_refused("{% if not messages %}\n{{ 1|nosuch }}{% endif %}", "line 2: there is no filter 'nosuch'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_templates_give_jinja2s_texts_and_errors),
        cmocka_unit_test(every_byte_keeps_its_origin_through_filters_and_methods),
        cmocka_unit_test(names_and_forms_from_messages_stay_foreign),
        cmocka_unit_test(a_time_that_is_too_long_is_refused),
        cmocka_unit_test(no_jump_leads_out_of_a_generation),
        cmocka_unit_test(a_missing_end_is_named_with_the_line_that_wants_it),
        cmocka_unit_test(what_does_not_end_is_refused),
        cmocka_unit_test(work_without_output_is_counted),
        cmocka_unit_test(names_looked_at_are_counted),
        cmocka_unit_test(deep_sources_are_refused),
        cmocka_unit_test(an_unknown_construct_is_named_with_its_line),
        cmocka_unit_test(an_unknown_filter_in_a_branch_is_refused_when_it_is_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
