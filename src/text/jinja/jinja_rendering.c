/* One rendering: memory in blocks that are freed together, bounds, interned names, scopes; and the call that renders.
   Rests on jinja_rendering.h. Read on in jinja_statements.c. */
#include "text/jinja/jinja_rendering.h"

#include "text/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 16, NAME_BUCKETS = 1 << 10 };

struct pool_block {
    pool_block *next;
    size_t size, used;
    _Alignas(max_align_t) unsigned char data[];
};

typedef struct name_entry {
    struct name_entry *next;
    size_t size;
    char text[];
} name_entry;

struct name_table {
    name_entry *buckets[NAME_BUCKETS];
};

/* A large piece has a block of its own, behind the newest, which goes on being filled. */
static pool_block *add_block(rendering *r, size_t bytes)
{
    size_t size = bytes > BLOCK_BYTES / 4 ? bytes : BLOCK_BYTES;
    pool_block *b;

    r->exhausted = r->exhausted || size > r->memory_limit - r->memory;
    b = r->exhausted ? NULL : calloc(1, sizeof *b + size);
    if (!b && !r->exhausted) {
        (void)fail(LARIAT_NO_MEMORY, "no memory" FREE_MEMORY);
        return NULL;
    }
    if (!b) {
        (void)jinja_fail("the template needs more than %zu MiB of memory: it does not end, or its input is too large",
                         r->memory_limit >> 20);
        return NULL;
    }
    b->size = size;
    r->memory += size;
    if (size > BLOCK_BYTES && r->blocks) {
        b->next = r->blocks->next;
        r->blocks->next = b;
    } else {
        b->next = r->blocks;
        r->blocks = b;
    }
    return b;
}

void *rendering_take(rendering *r, size_t n, size_t element)
{
    enum { ALIGN = _Alignof(max_align_t) };
    size_t bytes = n > SIZE_MAX / 2 / element ? SIZE_MAX / 2 : (n * element + ALIGN - 1) / ALIGN * ALIGN;
    pool_block *b = r->blocks;

    if (!b || bytes > b->size - b->used) {
        b = add_block(r, bytes);
        if (!b) {
            return NULL;
        }
    }
    b->used += bytes;
    return b->data + b->used - bytes;
}

lariat_status rendering_open(rendering *r, size_t input)
{
    memset(r, 0, sizeof *r);
    input = input < SIZE_MAX / 128 ? input : SIZE_MAX / 128;
    r->memory_limit = MAX_JINJA_MEMORY + 64 * input;
    r->step_limit = MAX_JINJA_STEPS + 64 * input;
    r->characters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    r->plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    TAKE(r, r->names, 1);
    TRY(scope_open(r, NULL, &r->globals));
    TRY(scope_open(r, r->globals, &r->top));
    return LARIAT_OK;
}

void rendering_close(rendering *r)
{
    while (r->blocks) {
        pool_block *next = r->blocks->next;
        free(r->blocks);
        r->blocks = next;
    }
    if (r->characters) {
        freelocale(r->characters);
    }
    if (r->plain) {
        freelocale(r->plain);
    }
}

lariat_status rendering_work(rendering *r, size_t work)
{
    if (work > r->step_limit - r->steps) {
        r->steps = r->step_limit;
        return jinja_fail("the template takes more than %zu steps: it does not end, or its input is too large", r->step_limit);
    }
    r->steps += work;
    return LARIAT_OK;
}

const char *rendering_name(rendering *r, const char *text, size_t size)
{
    name_entry **bucket = &r->names->buckets[hash_text(text, size) % NAME_BUCKETS], *e = *bucket;

    while (e && (e->size != size || memcmp(e->text, text, size) != 0)) {
        e = e->next;
    }
    if (!e) {
        e = rendering_take(r, 1, sizeof *e + size + 1);
        if (!e) {
            return NULL;
        }
        memcpy(e->text, text, size);
        e->size = size;
        e->next = *bucket;
        *bucket = e;
    }
    return e->text;
}

const char *rendering_format(rendering *r, const char *format, ...)
{
    char text[256], *copy;
    va_list arguments;

    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t size = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    copy = rendering_take(r, size + 1, 1);
    if (copy) {
        memcpy(copy, text, size);
    }
    return copy;
}

/* --- scopes --- */

lariat_status scope_open(rendering *r, scope *outer, scope **out)
{
    TAKE(r, *out, 1);
    (*out)->outer = outer;
    return LARIAT_OK;
}

lariat_status scope_set(rendering *r, scope *s, const char *name, value v)
{
    TRY(rendering_work(r, s->n / 64));
    for (size_t i = 0; i < s->n; i++) {
        if (s->names[i] == name) {
            s->values[i] = v;
            return LARIAT_OK;
        }
    }
    size_t capacity = s->capacity;
    MAKE_ROOM(r, s->names, s->n, capacity);
    MAKE_ROOM(r, s->values, s->n, s->capacity);
    s->names[s->n] = name;
    s->values[s->n++] = v;
    return LARIAT_OK;
}

lariat_status scope_find(rendering *r, const scope *s, const char *name, const value **out)
{
    size_t passed = 0;

    for (*out = NULL; s && !*out; s = s->outer) {
        for (size_t i = 0; i < s->n && !*out; i++) {
            *out = s->names[i] == name ? &s->values[i] : NULL;
        }
        passed += s->n + 1;
    }
    return rendering_work(r, passed / 64);
}

/* --- rendering --- */

static lariat_status set_global(rendering *r, const char *name, value v)
{
    const char *own = rendering_name(r, name, strlen(name));

    return own ? scope_set(r, r->globals, own, v) : LARIAT_NO_MEMORY;
}

static lariat_status set_marker(rendering *r, const char *name, const char *text)
{
    jinja_text own;

    if (!text) {
        return LARIAT_OK;
    }
    TRY(jinja_text_from(r, text, strlen(text), ORIGIN_TEMPLATE, &own));
    return set_global(r, name, value_text(own));
}

static lariat_status set_variables(rendering *r, const jinja_input *in)
{
    const json_t *bos = json_object_get(in->variables, "bos_token"), *eos = json_object_get(in->variables, "eos_token"),
                 *member;
    const char *key;
    value v;

    TRY(set_global(r, "add_generation_prompt", value_bool(true)));
    TRY(set_global(r, "tools", value_none())); /* as apply_chat_template passes them where they are not given */
    TRY(set_global(r, "documents", value_none()));
    json_object_foreach((json_t *)in->variables, key, member)
    {
        TRY(value_from_json(r, member, &v));
        TRY(set_global(r, key, v));
    }
    TRY(set_marker(r, "bos_token", json_is_string(bos) ? json_string_value(bos) : bos ? NULL : in->bos));
    TRY(set_marker(r, "eos_token", json_is_string(eos) ? json_string_value(eos) : eos ? NULL : in->eos));
    TRY(messages_from_json(r, in->messages, &v));
    return set_global(r, "messages", v);
}

static void set_now(rendering *r, const jinja_input *in)
{
    time_t now = time(NULL);

    if (in->now) {
        r->now = *in->now;
    } else {
        localtime_r(&now, &r->now);
    }
}

static lariat_status render(rendering *r, const jinja_input *in, jinja_output *out)
{
    node_list body;
    maker *text;

    TRY(jinja_parse(r, in->source, in->size, &body));
    r->line = 0;
    TRY(set_functions(r));
    TRY(set_variables(r, in));
    TAKE(r, text, 1);
    maker_open(text, r);
    r->out = text;
    TRY(execute(r, r->top, &body));
    TRY(buffer_append(&out->text, text->text, text->size));
    TRY(buffer_append(&out->origins, (const char *)text->origins, text->size));
    TRY(buffer_terminate(&out->origins));
    return buffer_terminate(&out->text);
}

lariat_status jinja_render(const jinja_input *in, jinja_output *out)
{
    size_t input = in->size + json_bytes(in->messages, 0) + json_bytes(in->variables, 0);
    rendering r;

    *out = (jinja_output){0};
    if (in->size > MAX_JINJA_SOURCE) {
        return fail(LARIAT_BAD_ARGUMENT, "%zu bytes are too many for a template", in->size);
    }
    lariat_status status = rendering_open(&r, input);
    set_now(&r, in);
    NEXT(status, render(&r, in, out));
    if (status != LARIAT_OK) {
        status = r.exhausted ? LARIAT_BAD_ARGUMENT : status;
        status = r.line > 0 ? fail_within(status, "line %d", r.line) : status;
    }
    rendering_close(&r);
    return status;
}

void jinja_output_free(jinja_output *out)
{
    buffer_free(&out->text);
    buffer_free(&out->origins);
}
