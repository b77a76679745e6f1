/* A tokenizer as its file describes it, whatever file that was: tokens, merges or scores, and the rules of text around them.
   The readers (tokenizer_json.c, sentencepiece.c, text/gguf_vocabulary.c for GGUF) fill it, tokenizer_build() checks it and
   makes of it what encoding needs.
   Rests on buffer.h. */
#ifndef TEXT_VOCABULARY_H
#define TEXT_VOCABULARY_H

#include "text/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* The character that SentencePiece writes for a space: U+2581. */
#define SPACE_MARK "\xE2\x96\x81"
enum { SPACE_MARK_SIZE = 3 };

enum {
    MAX_TOKENS = 1 << 22,       /* ids of a vocabulary: the largest published has 2^18 */
    MAX_TOKEN_BYTES = 1 << 16,  /* of one token's text */
    MAX_ADDED_BYTES = 512,      /* of a token that is looked for at every place of a text */
    MAX_SPLIT_STEPS = 8
};

typedef enum token_kind {
    TOKEN_ABSENT,  /* no token has this id */
    TOKEN_NORMAL,  /* comes of merging */
    TOKEN_USER,    /* SentencePiece's user-defined symbol: found before merging, never split */
    TOKEN_BYTE,    /* stands for one byte that no other token has */
    TOKEN_UNKNOWN, /* stands for text that no token has */
    TOKEN_CONTROL  /* never comes of text */
} token_kind;

typedef struct token {
    const char *text;  /* as merging sees it: plain bytes for byte-level vocabularies */
    const char *shown; /* as it decodes; equals text until tokenizer_build() */
    uint32_t size, shown_size;
    float score;
    token_kind kind;
    bool special;      /* left out of decoded text unless asked for */
    int16_t byte;      /* decodes to this single byte if >= 0 */
} token;

/* Rank is the place in the list. */
typedef struct merge {
    int32_t left, right, result;
} merge;

/* A token that is cut out of the text before anything else is done to it. */
typedef struct added_token {
    const char *text; /* to look for */
    uint32_t size;
    int32_t id;
    bool special;     /* is looked for only with LARIAT_ENCODE_SPECIAL */
    bool normalized;  /* is looked for after the rules of normalization, which apply to it as well */
    bool lstrip, rstrip; /* takes white space on that side with it */
} added_token;

typedef enum rule_kind { RULE_PREPEND, RULE_REPLACE } rule_kind;

/* A rule of normalization. */
typedef struct text_rule {
    rule_kind kind;
    const char *pattern, *content; /* terminated; PREPEND has no pattern */
} text_rule;

typedef enum split_kind { SPLIT_EXPRESSION, SPLIT_BYTE_LEVEL, SPLIT_METASPACE } split_kind;
typedef enum prepend_scheme { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } prepend_scheme;

/* A step of cutting text into words. */
typedef struct split_step {
    split_kind kind;
    const char *expression; /* EXPRESSION, BYTE_LEVEL (NULL: does not cut); as the file has it, terminated */
    bool literal;           /* the expression is a plain string */
    bool drop_gaps;         /* what lies between matches is left out; otherwise it is a word as well */
    bool drop_matches;      /* the other way round */
    bool cut_at_space;      /* METASPACE: every space begins a word */
    prepend_scheme prepend; /* METASPACE: a space before the text; BYTE_LEVEL: ALWAYS or NEVER */
} split_step;

/* What becomes of the beginning of decoded text. */
typedef enum first_rule {
    FIRST_AS_IS,
    FIRST_STRIP,     /* up to `strip` spaces fall */
    FIRST_METASPACE, /* the first token loses all its spaces */
    FIRST_DUMMY,     /* the first space falls if a token begins with it: SentencePiece's dummy prefix */
    FIRST_SPACES     /* one space of every token falls until there is text */
} first_rule;

/* Finds a number by its text without a look at the others: open addressing, at most half full. */
typedef struct text_slot {
    uint64_t hash;
    int32_t value; /* -1: free */
} text_slot;

typedef struct text_index {
    text_slot *slots; /* a power of two; NULL: no text yet */
    size_t n_slots, n;
} text_index;

typedef struct vocabulary {
    token *tokens;
    int64_t n_tokens, token_capacity;
    /* ids are below: set by the reader from the number of tokens in its file, so that one absurd id costs nothing */
    int64_t id_limit;
    merge *merges;
    int64_t n_merges, merge_capacity;
    added_token *added;
    int64_t n_added, added_capacity;
    text_index token_index, added_index; /* ids of tokens, and places in `added` */

    bool by_score;      /* neighbours merge if their text is a token, best score first; otherwise by the list of merges */
    bool byte_level;    /* words are bytes, and every byte has a token */
    bool byte_fallback; /* characters without a token become byte tokens */
    bool fuse_unknown;  /* a run of unknown characters is one unknown token */
    bool ignore_merges; /* a word that is a token is not merged but taken */
    int32_t unknown;    /* id, or -1: unknown characters are dropped */
    int32_t byte_ids[256]; /* -1: no token for this byte */

    text_rule *rules;   /* normalization, in order */
    int64_t n_rules, rule_capacity;
    bool dummy_prefix, remove_extra_spaces, escape_spaces; /* by_score: SentencePiece's normalization */
    split_step steps[MAX_SPLIT_STEPS];
    int n_steps;

    first_rule first;
    int32_t strip;
    bool spaced;        /* decoded tokens are joined with a space: tokenizer.json without a decoder */
    text_rule *shown;   /* replacements in tokens when they are decoded */
    int64_t n_shown, shown_capacity;

    int32_t bos, eos;   /* or -1; eos ends a text, one of `ends` */
    bool adds_bos;
    id_list ends;
    const char *chat_template; /* terminated, or NULL */

    struct text_block *texts; /* owns all strings above */
} vocabulary;

/* All zero but the ids, which are -1. */
void vocabulary_init(vocabulary *v);
void vocabulary_free(vocabulary *v);

/* A terminated copy owned by the vocabulary. */
lariat_status vocabulary_text(vocabulary *v, const char *text, size_t size, const char **out);

/* Gives `id` a text and a kind; ids may come in any order. Refuses an id twice, negative or absurdly large. */
lariat_status vocabulary_set(vocabulary *v, int64_t id, const char *text, size_t size, token_kind kind);
lariat_status vocabulary_merge(vocabulary *v, int32_t left, int32_t right, int32_t result);
lariat_status vocabulary_add(vocabulary *v, const added_token *t);
lariat_status vocabulary_rule(vocabulary *v, rule_kind kind, const char *pattern, const char *content);
/* A replacement in decoded tokens. */
lariat_status vocabulary_shown(vocabulary *v, const char *pattern, const char *content);
lariat_status vocabulary_step(vocabulary *v, const split_step *step);
/* An id that ends a reply; one named twice counts once. */
lariat_status vocabulary_end(vocabulary *v, int32_t id);

bool vocabulary_has(const vocabulary *v, int64_t id);
/* The added token of that text, or -1; any token of that text, the added one first, or -1. A text that tokenizer_build()
   normalizes is not found any more. */
int32_t vocabulary_added(const vocabulary *v, const char *text);
int32_t vocabulary_find(const vocabulary *v, const char *text);

/* The byte for which "<0xAB>" stands, or -1. */
int byte_of_text(const char *text, size_t size);

/* The alphabet of byte-level vocabularies (every byte a printable character, as GPT-2 began it): appends the bytes for which
   the characters of a token stand, and says whether all were of the alphabet. If not, nothing is appended. */
lariat_status append_alphabet_bytes(buffer *out, const char *text, size_t size, bool *all);

/* The expressions of byte-level vocabularies that files name instead of writing them down. */
extern const char expression_gpt2[], expression_llama3[], expression_digit[], expression_digits[];

#endif
