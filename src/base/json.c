/* JSON files and exact access to their fields.
   Rests on jansson. See json.h. */
#include "base/json.h"
#include "base/file.h"

bool json_error_is_nul(const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);

    return code == json_error_null_character || code == json_error_null_byte_in_key;
}

lariat_status json_check(const char *path, json_t *root, const json_error_t *error, json_t **out)
{
    *out = NULL;
    if (!root && json_error_code(error) == json_error_out_of_memory) {
        return fail(LARIAT_NO_MEMORY, "%s: no memory to read it" FREE_MEMORY, path);
    }
    if (!root && json_error_is_nul(error)) {
        return fail(LARIAT_BAD_MODEL, "%s: line %d holds \\u0000, and Lariat reads no text with NUL" CORRECT_IT, path,
                    error->line);
    }
    if (!root && error->line > 0) {
        return fail(LARIAT_BAD_MODEL, "%s: is not JSON: %s (line %d)" FETCH_AGAIN, path, error->text, error->line);
    }
    if (!root) { /* not jansson's finding */
        return fail(LARIAT_BAD_MODEL, "%s: cannot be read: %s" FETCH_AGAIN, path, error->text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return fail(LARIAT_BAD_MODEL, "%s: holds no JSON object" FETCH_AGAIN, path);
    }
    *out = root;
    return LARIAT_OK;
}

lariat_status json_read(const char *path, const char *data, size_t size, json_t **out)
{
    json_error_t error;
    json_t *root = json_loadb(data, size, JSON_REJECT_DUPLICATES, &error);

    return json_check(path, root, &error, out);
}

lariat_status json_read_file(const char *path, size_t max_bytes, json_t **out)
{
    mapped_file f;

    *out = NULL;
    TRY(map_file(path, &f));
    lariat_status status = LARIAT_OK;
    if (f.size > max_bytes) {
        status = fail(LARIAT_BAD_MODEL, "%s: has %zu bytes, more than the %zu that such a file may have: fetch it again", path,
                      f.size, max_bytes);
    } else {
        status = json_read(path, (const char *)f.data, f.size, out);
    }
    unmap_file(&f);
    return status;
}

/* The field if its type is in the set `types`, bits 1 << json_type; NULL where it is missing or null, which fails if it is
   required. `wrong` describes another type in the message. */
static lariat_status field_of(const json_t *o, const char *path, const char *field, bool required, unsigned types,
                              const char *wrong, const json_t **out)
{
    *out = json_object_get(o, field);
    if (!*out || json_is_null(*out)) {
        *out = NULL;
        return required ? fail(LARIAT_BAD_MODEL, "%s: has no \"%s\"" CORRECT_IT, path, field) : LARIAT_OK;
    }
    return types >> json_typeof(*out) & 1u ? LARIAT_OK
                                           : fail(LARIAT_BAD_MODEL, "%s: \"%s\" is %s" CORRECT_IT, path, field, wrong);
}

lariat_status json_int(const json_t *o, const char *path, const char *field, bool required, int64_t low, int64_t high,
                       int64_t *out)
{
    const json_t *v;

    TRY(field_of(o, path, field, required, 1u << JSON_INTEGER, "not an integer", &v));
    int64_t value = json_integer_value(v);
    if (v && (value < low || value > high)) {
        return fail(LARIAT_BAD_MODEL, "%s: \"%s\" is %lld, outside of %lld to %lld" CORRECT_IT, path, field, (long long)value,
                    (long long)low, (long long)high);
    }
    if (v) {
        *out = value;
    }
    return LARIAT_OK;
}

lariat_status json_number(const json_t *o, const char *path, const char *field, bool required, double *out)
{
    const json_t *v;

    TRY(field_of(o, path, field, required, 1u << JSON_INTEGER | 1u << JSON_REAL, "not a number", &v));
    if (v) {
        *out = json_number_value(v);
    }
    return LARIAT_OK;
}

lariat_status json_flag(const json_t *o, const char *path, const char *field, bool required, bool *out)
{
    const json_t *v;

    TRY(field_of(o, path, field, required, 1u << JSON_TRUE | 1u << JSON_FALSE, "neither true nor false", &v));
    if (v) {
        *out = json_is_true(v);
    }
    return LARIAT_OK;
}

lariat_status json_text(const json_t *o, const char *path, const char *field, bool required, const char **out)
{
    const json_t *v;

    TRY(field_of(o, path, field, required, 1u << JSON_STRING, "not a string", &v));
    if (v) {
        *out = json_string_value(v);
    }
    return LARIAT_OK;
}
