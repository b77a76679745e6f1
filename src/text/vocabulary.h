/* A tokenizer's description, independent of the file format: tokens, merges or scores, rules of normalization and splitting.
   The readers (tokenizer_json.c, sentencepiece.c, gguf_vocabulary.c) fill it; tokenizer_build() checks it and builds the
   tables of encoding.
   Rests on buffer.h. */
#pragma once

#include "text/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* The character that SentencePiece writes for a space: U+2581. */
#define SPACE_MARK "\xE2\x96\x81"
enum { SPACE_MARK_SIZE = 3 };

enum {
    MAX_TOKENS = 1 << 22,       /* of a vocabulary; the largest published one has 2^18 */
    MAX_TOKEN_BYTES = 1 << 16,  /* of one token's text */
    MAX_ADDED_BYTES = 512,      /* of an added token, searched for at every position of a text */
    MAX_SPLIT_STEPS = 16,
    MAX_RULES = 64,             /* of normalization */
    MAX_WARNINGS = 16           /* further ones are dropped */
};

typedef enum token_kind {
    TOKEN_ABSENT,  /* no token has this id */
    TOKEN_NORMAL,  /* a result of merging */
    TOKEN_USER,    /* SentencePiece's user-defined symbol: found before merging, never split */
    TOKEN_BYTE,    /* one byte without another token */
    TOKEN_UNKNOWN, /* text without a token */
    TOKEN_CONTROL  /* never a result of encoding text */
} token_kind;

typedef struct token {
    const char *text;  /* as merged: plain bytes for byte-level vocabularies */
    const char *shown; /* as decoded; equals text until tokenizer_build() */
    uint32_t size, shown_size;
    float score;
    token_kind kind;
    bool special;      /* omitted from decoded text by default */
    int16_t byte;      /* decodes to this single byte if >= 0 */
} token;

/* Its rank is its index in the list. */
typedef struct merge {
    int32_t left, right, result;
} merge;

/* A token that is found in the text before normalization and splitting. */
typedef struct added_token {
    const char *text; /* to search for */
    uint32_t size;
    const char *written; /* as in the file: `text` before normalization; NULL until tokenizer_build() */
    uint32_t written_size;
    uint32_t lead;       /* bytes of `text` that Prepend puts before it */
    int32_t id;
    bool special;     /* found only with LARIAT_ENCODE_SPECIAL */
    bool normalized;  /* searched for in normalized text; its own text is normalized too */
    bool lstrip, rstrip; /* includes white space on that side */
    bool single_word; /* found only where no character of a word is beside it */
} added_token;

typedef enum rule_kind {
    RULE_PREPEND,
    RULE_REPLACE,     /* a plain string */
    RULE_EXPRESSION,  /* the same for matches of an expression */
    RULE_LOWERCASE,
    RULE_STRIP_LEFT,  /* white space */
    RULE_STRIP_RIGHT,
    RULE_NFC,         /* Unicode's normal forms */
    RULE_NFD,
    RULE_NFKC,
    RULE_NFKD
} rule_kind;

/* A rule of normalization. */
typedef struct text_rule {
    rule_kind kind;
    const char *pattern, *content; /* terminated; pattern: REPLACE, EXPRESSION; content: these and PREPEND */
} text_rule;

/* SPELL is the second half of a ByteLevel with steps behind it: bytes become characters of its alphabet. */
typedef enum split_kind { SPLIT_EXPRESSION, SPLIT_BYTE_LEVEL, SPLIT_METASPACE, SPLIT_SPELL } split_kind;
typedef enum prepend_scheme { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } prepend_scheme;

/* Of matches and the text between them, which words are made. */
typedef enum split_behavior {
    BEHAVIOR_ISOLATED,        /* each is one */
    BEHAVIOR_REMOVED,         /* the text between matches */
    BEHAVIOR_CONTIGUOUS,      /* each run of matches, and each run without */
    BEHAVIOR_MERGED_PREVIOUS, /* a match ends the word before it */
    BEHAVIOR_MERGED_NEXT      /* a match begins the word behind it */
} split_behavior;

/* A step of splitting text into words. */
typedef struct split_step {
    split_kind kind;
    const char *expression; /* EXPRESSION, BYTE_LEVEL (NULL: does not split); as in the file, terminated */
    bool literal;           /* the expression is a plain string */
    split_behavior behavior; /* EXPRESSION */
    bool invert;            /* matches count as the text between them, and that as matches */
    bool cut_at_space;      /* METASPACE: every space begins a word */
    prepend_scheme prepend; /* METASPACE: a space before the text; BYTE_LEVEL: ALWAYS or NEVER */
} split_step;

/* Handling of spaces at the beginning of decoded text. */
typedef enum first_rule {
    FIRST_AS_IS,
    FIRST_STRIP,     /* removes up to `strip` spaces */
    FIRST_METASPACE, /* removes all spaces of the first token */
    FIRST_DUMMY,     /* removes the first space if a token begins with it: SentencePiece's dummy prefix */
    FIRST_SPACES     /* removes one space of every token until there is text */
} first_rule;

/* A hash table from text to number: open addressing, at most half full. */
typedef struct text_entry {
    uint64_t hash;
    int32_t value; /* -1: free */
} text_entry;

typedef struct text_index {
    text_entry *entries; /* [n_entries], a power of two; NULL: empty */
    size_t n_entries, n;
} text_index;

typedef struct vocabulary {
    token *tokens;
    int64_t n_tokens, token_capacity;
    /* bound on ids, set by the reader from the number of tokens in its file: a huge id allocates nothing */
    int64_t id_limit;
    merge *merges;
    int64_t n_merges, merge_capacity;
    added_token *added;
    int64_t n_added, added_capacity;
    text_index token_index, added_index; /* to ids of tokens, and to indices into `added` */

    bool by_score;      /* merges neighbours whose text is a token, best score first; otherwise by the list of merges */
    bool byte_level;    /* words are bytes, and every byte has a token */
    bool byte_fallback; /* characters without a token become byte tokens */
    bool fuse_unknown;  /* consecutive unknown characters are one unknown token */
    bool ignore_merges; /* a word that is a token is not merged */
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
    text_rule *shown;   /* replacements in decoded tokens */
    int64_t n_shown, shown_capacity;

    int32_t bos, eos;   /* or -1; eos is one of `ends` */
    bool adds_bos;
    id_list before, after; /* ids around a text that asks for BOS; both empty: bos alone */
    id_list ends;
    const char *warnings[MAX_WARNINGS]; /* of faults in the file that were put right */
    int n_warnings;
    const char *path;   /* what errors call it: its file; NULL: "tokenizer" */
    const char *chat_template; /* terminated, or NULL */
    const char *template_name; /* in error messages: its file and field */

    struct text_block *texts; /* owns all strings above */
} vocabulary;

/* All zero, ids -1. */
void vocabulary_init(vocabulary *v);
void vocabulary_free(vocabulary *v);

/* A terminated copy owned by the vocabulary. */
lariat_status vocabulary_text(vocabulary *v, const char *text, size_t size, const char **out);

/* Sets text and kind of `id`, in any order. Refuses duplicate, negative and too large ids. */
lariat_status vocabulary_set(vocabulary *v, int64_t id, const char *text, size_t size, token_kind kind);
lariat_status vocabulary_merge(vocabulary *v, int32_t left, int32_t right, int32_t result);
lariat_status vocabulary_add(vocabulary *v, const added_token *t);
lariat_status vocabulary_rule(vocabulary *v, rule_kind kind, const char *pattern, const char *content);
/* A replacement in decoded tokens. */
lariat_status vocabulary_shown(vocabulary *v, const char *pattern, const char *content);
lariat_status vocabulary_step(vocabulary *v, const split_step *step);
/* `path` and `field`, which may be NULL, name it in error messages. */
lariat_status vocabulary_template(vocabulary *v, const char *text, size_t size, const char *path, const char *field);
/* Notes a fault in the file that has been put right. */
lariat_status vocabulary_warn(vocabulary *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds an id that ends a reply; duplicates count once. */
lariat_status vocabulary_end(vocabulary *v, int32_t id);

bool vocabulary_has(const vocabulary *v, int64_t id);
/* The added token of that text, or -1; any token of that text, the added one first, or -1. Texts that tokenizer_build() has
   normalized are not found. */
int32_t vocabulary_added(const vocabulary *v, const char *text);
/* Its place in `added`; -1: not there. */
int32_t vocabulary_added_place(const vocabulary *v, const char *text);
int32_t vocabulary_find(const vocabulary *v, const char *text);

/* The byte of "<0xAB>", or -1. */
int byte_of_text(const char *text, size_t size);

/* Decodes GPT-2's alphabet of byte-level vocabularies, in which every byte is a printable character: appends the bytes of a
   token. *all is false, and nothing appended, where a character is not of the alphabet. */
lariat_status append_alphabet_bytes(buffer *out, const char *text, size_t size, bool *all);
/* The other direction, for one byte. */
lariat_status append_alphabet(buffer *out, unsigned char byte);

/* Expressions that files refer to by name, in the syntax of tokenizer.json. */
extern const char expression_gpt2[], expression_llama3[], expression_digit[], expression_digits[], expression_punctuation[],
    expression_words[], expression_white_space[];
/* A character of a word, as Rust's expressions have it. */
extern const char expression_word[];
