/* Reading a SentencePiece model: a protocol buffer of pieces (1), the trainer's settings (2) and the normalizer's (3).
   Rests on vocabulary.c. Field numbers and defaults are those of sentencepiece_model.proto. Read on in merge.c ("by score")
   and normalizer.c, which apply these settings. */
#include "text/sentencepiece.h"

#include "base/file.h"
#include "text/utf8.h"

#include <string.h>

enum { MODEL_BPE = 2, MODEL_MAX_BYTES = 64 << 20 };
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE };
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* A field of a message. */
typedef struct field {
    uint64_t number, value; /* value: VARINT, 32, 64 */
    const unsigned char *data;
    size_t size;            /* BYTES */
    int wire;
} field;

typedef struct message {
    const char *path;
    const unsigned char *at, *end;
} message;

static lariat_status damaged(const message *m, const char *what)
{
    return fail(LARIAT_BAD_MODEL, "%s: is no SentencePiece model or is damaged: %s, name another file or fetch it again",
                m->path, what);
}

static lariat_status read_varint(message *m, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (m->at == m->end) {
            return damaged(m, "it ends within a number");
        }
        *out |= (uint64_t)(*m->at & 0x7F) << shift;
        if (!(*m->at++ & 0x80)) {
            return LARIAT_OK;
        }
    }
    return damaged(m, "a number is too long");
}

static lariat_status read_fixed(message *m, int bytes, uint64_t *out)
{
    *out = 0;
    if (m->end - m->at < bytes) {
        return damaged(m, "it ends within a number");
    }
    for (int i = 0; i < bytes; i++) {
        *out |= (uint64_t)*m->at++ << 8 * i;
    }
    return LARIAT_OK;
}

static lariat_status read_field(message *m, field *out)
{
    uint64_t key, size;

    TRY(read_varint(m, &key));
    *out = (field){ .number = key >> 3, .wire = (int)(key & 7) };
    switch (out->wire) {
    case WIRE_VARINT:
        return read_varint(m, &out->value);
    case WIRE_64:
        return read_fixed(m, 8, &out->value);
    case WIRE_32:
        return read_fixed(m, 4, &out->value);
    case WIRE_BYTES:
        TRY(read_varint(m, &size));
        if (size > (uint64_t)(m->end - m->at)) {
            return damaged(m, "a field reaches past the end");
        }
        out->data = m->at;
        out->size = (size_t)size;
        m->at += size;
        return LARIAT_OK;
    default:
        return damaged(m, "a field has an unknown type");
    }
}

static message inside(const message *m, const field *f)
{
    return (message){ .path = m->path, .at = f->data, .end = f->data + f->size };
}

/* --- the three parts --- */

typedef struct trainer {
    uint64_t model_type, byte_fallback, suffix;
    field unknown_surface, bos, eos; /* data NULL: not given */
} trainer;

static lariat_status read_trainer(message m, trainer *out)
{
    field f;

    while (m.at < m.end) {
        TRY(read_field(&m, &f));
        if (f.number == 3 && f.wire == WIRE_VARINT) {
            out->model_type = f.value;
        } else if (f.number == 24 && f.wire == WIRE_VARINT) {
            out->suffix = f.value;
        } else if (f.number == 35 && f.wire == WIRE_VARINT) {
            out->byte_fallback = f.value;
        } else if (f.number == 44 && f.wire == WIRE_BYTES) {
            out->unknown_surface = f;
        } else if (f.number == 46 && f.wire == WIRE_BYTES) {
            out->bos = f;
        } else if (f.number == 47 && f.wire == WIRE_BYTES) {
            out->eos = f;
        }
    }
    return LARIAT_OK;
}

static lariat_status read_normalizer(message m, vocabulary *v)
{
    const unsigned char *name = (const unsigned char *)"";
    size_t name_size = 0, table_size = 0;
    field f;

    while (m.at < m.end) {
        TRY(read_field(&m, &f));
        if (f.number == 1 && f.wire == WIRE_BYTES) {
            name = f.data;
            name_size = f.size;
        } else if (f.number == 2 && f.wire == WIRE_BYTES) {
            table_size = f.size;
        } else if (f.number == 3 && f.wire == WIRE_VARINT) {
            v->dummy_prefix = f.value != 0;
        } else if (f.number == 4 && f.wire == WIRE_VARINT) {
            v->remove_extra_spaces = f.value != 0;
        } else if (f.number == 5 && f.wire == WIRE_VARINT) {
            v->escape_spaces = f.value != 0;
        }
    }
    if (table_size) {
        return fail(LARIAT_UNSUPPORTED, "%s: normalization \"%.*s\" is not supported, only identity", m.path,
                    name_size < 64 ? (int)name_size : 64, name);
    }
    return LARIAT_OK;
}

static lariat_status set_piece(const message *m, vocabulary *v, const field *text, float score, uint64_t type)
{
    static const token_kind kinds[] = {[PIECE_NORMAL] = TOKEN_NORMAL,
                                       [PIECE_UNKNOWN] = TOKEN_UNKNOWN,
                                       [PIECE_CONTROL] = TOKEN_CONTROL,
                                       [PIECE_USER] = TOKEN_USER,
                                       [PIECE_BYTE] = TOKEN_BYTE};
    int64_t id = v->n_tokens;
    const char *bytes = (const char *)text->data;

    if (text->size == 0 || !utf8_valid(bytes, text->size)) {
        return damaged(m, "a piece is empty or not UTF-8");
    }
    if (type == PIECE_UNUSED || type < PIECE_NORMAL || type > PIECE_BYTE) {
        return fail(LARIAT_UNSUPPORTED, "%s: piece %lld is of type %llu (unused or unknown), which is not supported", m->path,
                    (long long)id, (unsigned long long)type);
    }
    lariat_status status = vocabulary_set(v, id, bytes, text->size, kinds[type]);
    if (status != LARIAT_OK) {
        return fail_within(status, "%s", m->path);
    }
    v->tokens[id].score = score;
    if (type == PIECE_BYTE) {
        int byte = byte_of_text(bytes, text->size);
        if (byte < 0 || v->byte_ids[byte] >= 0) {
            return damaged(m, "a byte piece is not written <0xAB>, or there are two of a byte");
        }
        v->byte_ids[byte] = (int32_t)id;
        v->tokens[id].byte = (int16_t)byte;
    } else if (type == PIECE_UNKNOWN) {
        if (v->unknown >= 0) {
            return damaged(m, "there are two unknown pieces");
        }
        v->unknown = (int32_t)id;
    } else if (type == PIECE_CONTROL) {
        added_token a = { .text = v->tokens[id].text, .size = v->tokens[id].size, .id = (int32_t)id, .special = true };
        v->tokens[id].special = true;
        return vocabulary_add(v, &a);
    }
    return LARIAT_OK;
}

static lariat_status read_piece(message m, vocabulary *v)
{
    field text = { .data = m.at }, f;
    uint64_t type = PIECE_NORMAL;
    float score = 0;

    while (m.at < m.end) {
        TRY(read_field(&m, &f));
        if (f.number == 1 && f.wire == WIRE_BYTES) {
            text = f;
        } else if (f.number == 2 && f.wire == WIRE_32) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof score);
        } else if (f.number == 3 && f.wire == WIRE_VARINT) {
            type = f.value;
        }
    }
    return set_piece(&m, v, &text, score, type);
}

/* A text of the trainer's settings, or its default. */
static lariat_status text_or(vocabulary *v, const field *f, const char *otherwise, const char **out)
{
    return f->data ? vocabulary_text(v, (const char *)f->data, f->size, out)
                   : vocabulary_text(v, otherwise, strlen(otherwise), out);
}

static lariat_status name_ends(vocabulary *v, const trainer *t)
{
    const char *bos, *eos;

    TRY(text_or(v, &t->bos, "<s>", &bos));
    TRY(text_or(v, &t->eos, "</s>", &eos));
    v->bos = vocabulary_added(v, bos);
    v->adds_bos = v->bos >= 0;
    v->eos = vocabulary_added(v, eos);
    return v->eos >= 0 ? vocabulary_end(v, v->eos) : LARIAT_OK;
}

static lariat_status finish(const message *m, vocabulary *v, const trainer *t)
{
    static const char unknown_surface[] = " \xE2\x81\x87 ";
    token *unknown;

    if (t->model_type != MODEL_BPE) {
        static const char *const names[] = { "?", "unigram", "bpe", "word", "char" };
        return fail(LARIAT_UNSUPPORTED, "%s: model type %s is not supported, only bpe", m->path,
                    names[t->model_type < 5 ? t->model_type : 0]);
    }
    if (t->suffix) {
        return fail(LARIAT_UNSUPPORTED, "%s: treat_whitespace_as_suffix is not supported", m->path);
    }
    if (v->unknown < 0) {
        return damaged(m, "there is no unknown piece");
    }
    /* The unknown piece is never found in text; it decodes to its surface. */
    unknown = &v->tokens[v->unknown];
    TRY(text_or(v, &t->unknown_surface, unknown_surface, &unknown->text));
    unknown->size = (uint32_t)strlen(unknown->text);
    v->by_score = true;
    v->byte_fallback = t->byte_fallback != 0;
    v->first = v->remove_extra_spaces ? FIRST_SPACES : v->dummy_prefix ? FIRST_DUMMY : FIRST_AS_IS;
    TRY(vocabulary_shown(v, SPACE_MARK, " "));
    return name_ends(v, t);
}

lariat_status sentencepiece_parse(const char *path, const unsigned char *data, size_t size, vocabulary *v)
{
    message m = { .path = path, .at = data, .end = data + size };
    trainer t = { .model_type = 1 };
    field f;

    v->dummy_prefix = v->remove_extra_spaces = v->escape_spaces = true;
    v->id_limit = MAX_TOKENS; /* ids are indices: each one takes bytes in the file */
    while (m.at < m.end) {
        TRY(read_field(&m, &f));
        if (f.wire != WIRE_BYTES) {
            continue;
        }
        if (f.number == 1) {
            TRY(read_piece(inside(&m, &f), v));
        } else if (f.number == 2) {
            TRY(read_trainer(inside(&m, &f), &t));
        } else if (f.number == 3) {
            TRY(read_normalizer(inside(&m, &f), v));
        } else if (f.number == 5 && f.size) {
            message denormalizer = inside(&m, &f);
            vocabulary ignored = { 0 };
            TRY(read_normalizer(denormalizer, &ignored));
        }
    }
    return finish(&m, v, &t);
}

lariat_status sentencepiece_read(const char *path, vocabulary *v)
{
    mapped_file f;
    lariat_status status;

    TRY(map_file(path, &f));
    status = f.size > MODEL_MAX_BYTES
                 ? fail(LARIAT_BAD_MODEL, "%s: %zu bytes are too many for a SentencePiece model" FETCH_AGAIN, path, f.size)
                 : sentencepiece_parse(path, f.data, f.size, v);
    unmap_file(&f);
    return status;
}
