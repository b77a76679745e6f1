/* Methods of texts, dictionaries, lists and loops. Those that change their object are unsafe in jinja2's immutable sandbox.
   Rests on jinja_format.c. Read on in jinja_functions.c. */
#include "text/jinja/jinja_rendering.h"

#include "text/utf8.h"

#include <string.h>
#include <wctype.h>

static bool is_word(const char *words, const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || strchr(name, ' ')) {
        return false;
    }
    for (const char *at = words; (at = strstr(at, name)) != NULL; at += n) {
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
    }
    return false;
}

method_rule find_method(const value *v, const char *name)
{
    static const struct {
        value_kind kind;
        const char *known, *unsafe, *refused;
    } rules[] = {
        {VALUE_TEXT,
         "upper lower strip lstrip rstrip split rsplit splitlines startswith endswith replace find rfind index count join "
         "format title capitalize isdigit isdecimal isnumeric isalpha isalnum isspace isupper islower zfill ljust rjust center "
         "removeprefix removesuffix partition rpartition",
         "",
         "encode format_map maketrans translate expandtabs casefold swapcase rindex isidentifier isprintable istitle isascii"},
        {VALUE_DICT, "get items keys values copy", "clear pop popitem setdefault update", "fromkeys"},
        {VALUE_LIST, "index count copy", "append clear pop reverse insert sort extend remove", ""},
        {VALUE_TUPLE, "index count", "", ""},
        {VALUE_LOOP, "cycle changed", "", ""},
        {VALUE_INT, "", "", "bit_length to_bytes conjugate"},
    };

    if (name[0] == '_' && name[1] == '_' && v->kind != VALUE_DICT && v->kind != VALUE_NAMESPACE) {
        return METHOD_UNSAFE;
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].kind == v->kind) {
            return is_word(rules[i].known, name)     ? METHOD_KNOWN
                   : is_word(rules[i].unsafe, name)  ? METHOD_UNSAFE
                   : is_word(rules[i].refused, name) ? METHOD_REFUSED
                                                     : METHOD_NONE;
        }
    }
    return METHOD_NONE;
}

/* --- texts --- */

static lariat_status need_text(const char *what, const value *v)
{
    TRY(value_refuse_undefined(v));
    return v->kind == VALUE_TEXT ? LARIAT_OK : jinja_fail("%s: a text is wanted, not %s", what, value_type(v));
}

static int64_t number_or(const value *v, int64_t otherwise)
{
    return v->kind == VALUE_INT || v->kind == VALUE_BOOL ? value_integer(v) : otherwise;
}

static lariat_status strip(rendering *r, const method *m, const value *set, value *out)
{
    bool given = argument_is_given(set) && set->kind != VALUE_NONE;

    if (given) {
        TRY(need_text(m->name, set));
    }
    TRY(rendering_work(r, (m->self.as.text.size / 64 + 1) * (given ? set->as.text.size : 1)));
    *out = value_text(jinja_text_strip(m->self.as.text, given ? &set->as.text : NULL, *m->name != 'r', *m->name != 'l'));
    return LARIAT_OK;
}

static bool has_end(jinja_text text, jinja_text end, bool prefix)
{
    return end.size <= text.size && memcmp(prefix ? text.text : text.text + text.size - end.size, end.text, end.size) == 0;
}

static lariat_status has_any_end(rendering *r, const method *m, const value *ends, value *out)
{
    bool prefix = *m->name == 's', holds = false;
    size_t n = ends->kind == VALUE_TUPLE ? ends->as.list->n : 1;

    TRY(rendering_work(r, n));
    for (size_t i = 0; i < n && !holds; i++) {
        const value *end = ends->kind == VALUE_TUPLE ? &ends->as.list->items[i] : ends;
        TRY(need_text(m->name, end));
        TRY(rendering_work(r, end->as.text.size / 64));
        holds = has_end(m->self.as.text, end->as.text, prefix);
    }
    *out = value_bool(holds);
    return LARIAT_OK;
}

static lariat_status remove_end(rendering *r, const method *m, const value *end, value *out)
{
    jinja_text text = m->self.as.text;
    bool prefix = strcmp(m->name, "removeprefix") == 0;

    TRY(need_text(m->name, end));
    TRY(rendering_work(r, end->as.text.size / 64 + 1));
    if (has_end(text, end->as.text, prefix)) {
        size_t cut = end->as.text.size;
        text = prefix ? jinja_text_part(text, cut, text.size) : jinja_text_part(text, 0, text.size - cut);
    }
    *out = value_text(text);
    return LARIAT_OK;
}

/* find, rfind, index, count: in characters. */
static lariat_status find_in_text(rendering *r, const method *m, const value *part, value *out)
{
    jinja_text text = m->self.as.text;
    int64_t found, n = 0;

    TRY(need_text(m->name, part));
    TRY(rendering_work(r, text.size / 16 + 1));
    if (strcmp(m->name, "count") == 0) {
        if (part->as.text.size == 0) {
            n = (int64_t)characters(text) + 1;
        }
        for (size_t from = 0; part->as.text.size && (found = jinja_text_find(text, part->as.text, from)) >= 0; n++) {
            from = (size_t)found + part->as.text.size;
        }
        *out = value_int(n, true);
        return LARIAT_OK;
    }
    if (*m->name == 'r') {
        TRY(find_last(r, text, part->as.text, &found));
    } else {
        found = jinja_text_find(text, part->as.text, 0);
    }
    if (found < 0 && *m->name == 'i') {
        return jinja_fail("substring not found");
    }
    *out = value_int(found < 0 ? -1 : (int64_t)characters(jinja_text_part(text, 0, (size_t)found)), true);
    return LARIAT_OK;
}

lariat_status split_lines(rendering *r, jinja_text text, bool keep, value *out)
{
    value_list *l;
    size_t done = 0;
    int length;

    TRY(rendering_work(r, text.size / 64 + 1));
    TRY(list_make(r, &l));
    for (size_t i = 0; i < text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.text + i, text.size - i, &length);
        if (!((code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 ||
              code == 0x2029)) {
            continue;
        }
        length += code == '\r' && i + 1 < text.size && text.text[i + 1] == '\n';
        TRY(list_add(r, l, value_text(jinja_text_part(text, done, keep ? i + (size_t)length : i))));
        done = i + (size_t)length;
    }
    if (done < text.size) {
        TRY(list_add(r, l, value_text(jinja_text_part(text, done, text.size))));
    }
    *out = value_sequence(VALUE_LIST, l);
    return LARIAT_OK;
}

static bool is_cased(const rendering *r, int32_t code)
{
    return (r->characters && (iswupper_l((wint_t)code, r->characters) || iswlower_l((wint_t)code, r->characters))) ||
           is_title_case(code);
}

/* title and capitalize: the first letter, of each word or of the text, is upper case, the others lower. */
static lariat_status change_first(rendering *r, const method *m, value *out)
{
    jinja_text text = m->self.as.text, changed;
    bool title = *m->name == 't', begins = true;
    maker made;
    int length;

    maker_open(&made, r);
    for (size_t i = 0; i < text.size; i += (size_t)length) {
        int32_t code = utf8_decode(text.text + i, text.size - i, &length);
        jinja_text one = jinja_text_part(text, i, i + (size_t)length);
        TRY(jinja_text_change_case(r, one, begins, &changed));
        TRY(maker_add(&made, changed));
        begins = title && !is_cased(r, code);
    }
    *out = value_text(maker_take(&made));
    return LARIAT_OK;
}

static bool has_property(const rendering *r, const char *name, int32_t code)
{
    number_kind number = python_number_kind(code);
    bool title = is_title_case(code);

    return strcmp(name, "isspace") == 0     ? is_python_space(code)
           : strcmp(name, "isalpha") == 0   ? is_python_letter(code)
           : strcmp(name, "isalnum") == 0   ? is_python_letter(code) || number != NUMBER_NONE
           : strcmp(name, "isdecimal") == 0 ? number >= NUMBER_DECIMAL
           : strcmp(name, "isdigit") == 0   ? number >= NUMBER_DIGIT
           : strcmp(name, "isnumeric") == 0 ? number >= NUMBER_NUMERIC
           : title || !r->characters        ? false
           : strcmp(name, "isupper") == 0   ? !iswlower_l((wint_t)code, r->characters)
                                            : !iswupper_l((wint_t)code, r->characters);
}

/* isdigit, isalpha and their kind, by Unicode's categories; cases by the C library's C.UTF-8. */
static lariat_status is_of_kind(rendering *r, const method *m, value *out)
{
    jinja_text text = m->self.as.text;
    bool all = text.size > 0, cased = false;
    int length;

    TRY(rendering_work(r, text.size / 16 + 1));
    for (size_t i = 0; i < text.size && all; i += (size_t)length) {
        int32_t code = utf8_decode(text.text + i, text.size - i, &length);
        cased = cased || is_cased(r, code);
        all = has_property(r, m->name, code);
    }
    bool needs_case = strcmp(m->name, "isupper") == 0 || strcmp(m->name, "islower") == 0;
    *out = value_bool(all && (cased || !needs_case));
    return LARIAT_OK;
}

static lariat_status pad_text(rendering *r, const method *m, const value *width, const value *filler, value *out)
{
    jinja_text text = m->self.as.text, fill;
    size_t n = characters(text), left = 0, right = 0;
    bool zeros = *m->name == 'z', sign = zeros && text.size && (*text.text == '-' || *text.text == '+');
    maker made;

    TRY(jinja_text_from(r, zeros ? "0" : " ", 1, ORIGIN_TEMPLATE, &fill));
    if (filler->kind == VALUE_TEXT) {
        TRY(inserted_text(r, m->self.safe, filler, &fill));
    }
    if (width->kind != VALUE_INT || characters(fill) != 1) {
        return jinja_fail("%s: a width, and one character to fill with, are wanted", m->name);
    }
    if (width->as.integer > (int64_t)n) {
        size_t more = (size_t)width->as.integer - n;
        left = *m->name == 'c' ? more / 2 + (more & (size_t)width->as.integer & 1) : *m->name == 'l' ? 0 : more;
        right = more - left;
    }
    maker_open(&made, r);
    TRY(maker_add(&made, jinja_text_part(text, 0, sign)));
    for (size_t i = 0; i < left; i++) {
        TRY(maker_add(&made, fill));
    }
    TRY(maker_add(&made, jinja_text_part(text, sign, text.size)));
    for (size_t i = 0; i < right; i++) {
        TRY(maker_add(&made, fill));
    }
    *out = value_text(maker_take(&made));
    return LARIAT_OK;
}

/* The three parts around the first or last separator. */
static lariat_status partition(rendering *r, const method *m, const value *separator, value *out)
{
    bool last = *m->name == 'r';
    jinja_text text = m->self.as.text, none = jinja_text_part(text, 0, 0);
    value parts;
    value_list *l;

    TRY(need_text(m->name, separator));
    TRY(split_text_value(r, text, separator, 1, last, &parts));
    TRY(list_make(r, &l));
    if (parts.as.list->n == 2) {
        TRY(list_add(r, l, parts.as.list->items[0]));
        TRY(list_add(r, l, *separator));
        TRY(list_add(r, l, parts.as.list->items[1]));
    } else {
        TRY(list_add(r, l, value_text(last ? none : text)));
        TRY(list_add(r, l, value_text(none)));
        TRY(list_add(r, l, value_text(last ? text : none)));
    }
    *out = value_sequence(VALUE_TUPLE, l);
    return LARIAT_OK;
}

static lariat_status replace_method(rendering *r, const method *m, const call_arguments *given, value *out)
{
    value a[3];
    jinja_text text, fresh;

    TRY(arguments_bind(given, "replace", "old new count", a));
    TRY(need_text("replace", &a[0]));
    TRY(need_text("replace", &a[1]));
    TRY(inserted_text(r, m->self.safe, &a[1], &fresh));
    TRY(replace_text(r, m->self.as.text, a[0].as.text, fresh, number_or(&a[2], -1), &text));
    *out = value_text(text);
    return LARIAT_OK;
}

static lariat_status join_method(rendering *r, const method *m, const value *given, value *out)
{
    value_list *parts, *l;
    jinja_text text;

    if (!argument_is_given(given)) {
        return jinja_fail("join takes exactly one argument");
    }
    TRY(value_iterate(r, given, &l));
    TRY(list_make(r, &parts));
    for (size_t i = 0; i < l->n && m->self.safe; i++) {
        TRY(inserted_text(r, true, &l->items[i], &text));
        TRY(list_add(r, parts, value_text(text)));
    }
    TRY(join_texts(r, m->self.as.text, m->self.safe ? parts : l, true, &text));
    *out = value_text(text);
    return LARIAT_OK;
}

static lariat_status one_text(rendering *r, const method *m, const call_arguments *given, value *out)
{
    value a[2];

    TRY(arguments_bind(given, m->name, "sep maxsplit", a));
    if (strcmp(m->name, "split") == 0 || strcmp(m->name, "rsplit") == 0) {
        return split_text_value(r, m->self.as.text, &a[0], number_or(&a[1], -1), *m->name == 'r', out);
    }
    if (argument_is_given(&a[1]) && !is_word("ljust rjust center", m->name)) {
        return jinja_fail("%s: a second argument is not supported", m->name);
    }
    if (strcmp(m->name, "join") == 0) {
        return join_method(r, m, &a[0], out);
    }
    if (is_word("strip lstrip rstrip", m->name)) {
        return strip(r, m, &a[0], out);
    }
    if (is_word("zfill ljust rjust center", m->name)) {
        return pad_text(r, m, &a[0], &a[1], out);
    }
    if (is_word("startswith endswith", m->name)) {
        return has_any_end(r, m, &a[0], out);
    }
    if (is_word("removeprefix removesuffix", m->name)) {
        return remove_end(r, m, &a[0], out);
    }
    return is_word("partition rpartition", m->name) ? partition(r, m, &a[0], out) : find_in_text(r, m, &a[0], out);
}

lariat_status call_text_method(rendering *r, const method *m, const call_arguments *given, value *out)
{
    jinja_text text;
    value keep;

    if (strcmp(m->name, "format") == 0) {
        return format_braces(r, &m->self, given, out);
    }
    if (strcmp(m->name, "replace") == 0) {
        return replace_method(r, m, given, out);
    }
    if (strcmp(m->name, "splitlines") == 0) {
        TRY(arguments_bind(given, m->name, "keepends", &keep));
        return split_lines(r, m->self.as.text, value_truth(&keep), out);
    }
    bool kind = strncmp(m->name, "is", 2) == 0;
    if (!kind && !is_word("upper lower title capitalize", m->name)) {
        return one_text(r, m, given, out);
    }
    TRY(arguments_bind(given, m->name, "", NULL));
    if (kind) {
        return is_of_kind(r, m, out);
    }
    if (*m->name == 't' || *m->name == 'c') {
        return change_first(r, m, out);
    }
    TRY(jinja_text_change_case(r, m->self.as.text, *m->name == 'u', &text));
    *out = value_text(text);
    return LARIAT_OK;
}

/* --- others --- */

static lariat_status view(rendering *r, const dict *d, char part, value *out)
{
    value_list *l, *pair;

    TRY(list_make(r, &l));
    for (size_t i = 0; i < d->n; i++) {
        value v = part == 'k' ? d->keys[i] : d->values[i];
        if (part == 'i') {
            TRY(list_make(r, &pair));
            TRY(list_add(r, pair, d->keys[i]));
            TRY(list_add(r, pair, d->values[i]));
            v = value_sequence(VALUE_TUPLE, pair);
        }
        TRY(list_add(r, l, v));
    }
    *out = value_sequence(part == 'k' ? VALUE_KEYS : part == 'v' ? VALUE_VALUES : VALUE_ITEMS, l);
    return LARIAT_OK;
}

static lariat_status call_dict_method(rendering *r, const method *m, const call_arguments *given, value *out)
{
    const dict *d = m->self.as.dict;
    value a[2];

    if (strcmp(m->name, "get") != 0) {
        TRY(arguments_bind(given, m->name, "", NULL));
        if (*m->name == 'c') {
            *out = m->self;
            return LARIAT_OK;
        }
        return view(r, d, *m->name, out);
    }
    TRY(arguments_bind(given, m->name, "key default", a));
    if (!argument_is_given(&a[0])) {
        return jinja_fail("get expected at least 1 argument");
    }
    TRY(value_refuse_unhashable(r, &a[0], 0));
    value *found;
    TRY(dict_find(r, d, &a[0], &found));
    *out = found ? *found : argument_is_given(&a[1]) ? a[1] : value_none();
    return LARIAT_OK;
}

static lariat_status call_list_method(rendering *r, const method *m, const call_arguments *given, value *out)
{
    const value_list *l = m->self.as.list;
    int64_t n = 0;
    value a;

    TRY(arguments_bind(given, m->name, "value", &a));
    if (strcmp(m->name, "copy") == 0) {
        *out = m->self;
        return LARIAT_OK;
    }
    for (size_t i = 0; i < l->n; i++) {
        bool same;
        TRY(rendering_work(r, 1));
        TRY(value_equal(r, &l->items[i], &a, &same));
        if (same && *m->name == 'i') {
            *out = value_int((int64_t)i, true);
            return LARIAT_OK;
        }
        n += same;
    }
    *out = value_int(n, true);
    return *m->name == 'i' ? jinja_fail("index: the value is not in the list") : LARIAT_OK;
}

static lariat_status call_loop_method(rendering *r, const method *m, const call_arguments *given, value *out)
{
    loop_state *l = m->self.as.loop;
    value_list *values;
    bool same;

    if (strcmp(m->name, "cycle") == 0) {
        if (given->n == 0) {
            return jinja_fail("no items for cycling given");
        }
        *out = given->positional[l->index % given->n];
        return LARIAT_OK;
    }
    TRY(list_make(r, &values));
    for (size_t i = 0; i < given->n; i++) {
        TRY(list_add(r, values, given->positional[i]));
    }
    value now = value_sequence(VALUE_TUPLE, values);
    TRY(value_equal(r, &l->changed, &now, &same));
    l->changed = now;
    *out = value_bool(!same);
    return LARIAT_OK;
}

lariat_status call_method(rendering *r, const method *m, const call_arguments *given, value *out)
{
    switch (m->self.kind) {
    case VALUE_TEXT:
        TRY(call_text_method(r, m, given, out));
        out->safe = out->kind == VALUE_TEXT && m->self.safe;
        for (size_t i = 0; value_is_sequence(out) && i < out->as.list->n; i++) { /* of split and partition */
            out->as.list->items[i].safe = m->self.safe;
        }
        return LARIAT_OK;
    case VALUE_DICT:
        return call_dict_method(r, m, given, out);
    case VALUE_LOOP:
        return call_loop_method(r, m, given, out);
    default:
        return call_list_method(r, m, given, out);
    }
}
