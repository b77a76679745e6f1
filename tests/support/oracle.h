/* What the oracle said: Hugging Face's implementation in fp64 over a checkpoint, as shared/REFERENCE.md describes the files.
   Rests on format/tensors.h and the public API. */
#pragma once

#include "format/tensors.h"
#include "lariat/lariat.h"

/* fp32: of the logits' standard deviation; the numerical contract (docs/numerics.md). */
#define BOUND_F32 2e-5

enum { ORACLE_MAX_CASES = 8, ORACLE_GREEDY = 24 };

typedef struct oracle_case {
    const int32_t *tokens; /* [length] */
    const float *logits;   /* [rows, vocab]: of the last rows */
    int64_t length, rows;
    double deviation;      /* of the logits */
    double nll;            /* mean next-token loss, NAN if none is given */
    const int32_t *greedy; /* [n_greedy], or NULL */
    const float *gap;      /* how far the best was ahead */
    int64_t n_greedy;
} oracle_case;

typedef struct oracle {
    tensors expected;
    oracle_case cases[ORACLE_MAX_CASES];
    int n;
    int64_t vocab;
} oracle;

/* Reads an expected.safetensors; logits are called "PREFIXcaseI.logits". Fails the test if it cannot. */
void oracle_open(oracle *o, const char *file, const char *prefix);
/* The same of the demo's model, whose path is the caller's to free. The test is skipped, and says why, where one of the two is
   missing or the build is a slow one. */
void oracle_open_demo(oracle *o, char **path);
void oracle_close(oracle *o);

/* Takes a case's tokens through an empty session. Returns the largest difference of its logits over their deviation (NaN stays
   NaN); *nll_error is the difference of the mean loss. The logits of the last token are left in `last` [vocab]. */
double oracle_prefill(const oracle *o, const oracle_case *c, lariat_engine *e, lariat_session *s, float *last,
                      double *nll_error);

/* Continues greedily from `last` and compares ids as long as the best was ahead by more than `gap`: after a close call texts
   may part. Returns how many tokens were compared. */
int oracle_greedy(const oracle *o, const oracle_case *c, lariat_engine *e, lariat_session *s, float *last, float gap);

/* One of the tiny reference models, reference/models/NAME, and what was said of it. */
typedef struct reference {
    char *folder;
    oracle said;
} reference;

enum { REFERENCE_MODELS = 4 };
extern const char *const reference_names[REFERENCE_MODELS];

void reference_open(reference *r, const char *name);
void reference_close(reference *r);

/* All cases of up to `longest` tokens of a model on a ring with these options; returns the largest error of any. `exact`: also
   holds the mean loss and the greedy text against what was said. */
double reference_run(const reference *r, lariat_options options, int64_t longest, bool exact);

/* Types of the tiny files reference/gguf/TYPE.gguf; what is expected of them is called "TYPE.caseI...". */
enum { ORACLE_GGUF_TYPES = 13 };
extern const char *const oracle_gguf_types[ORACLE_GGUF_TYPES];

/* Expected logits of the demo's model are fp64 over dequantised weights; fp32 is within 1.3e-5 (REFERENCE): closer calls than
   this may go another way. */
#define DEMO_GAP 5e-5f

/* All cases of an oracle of up to `longest` tokens over a file on a ring with these options: logits within BOUND_F32, the mean
   loss, and the greedy text as far as no call was closer than `gap`. Fails the test otherwise. */
void oracle_check_file(const oracle *o, const char *path, lariat_options options, float gap, int64_t longest);

/* Members of the family: folders of tests/data/family.tar.xz, each a checkpoint, what was said of it, and its GGUF file. */
enum { ORACLE_MEMBERS = 9 };
extern const char *const oracle_members[ORACLE_MEMBERS];

/* The path of a member's folder (file "") or of a file in it ("/model.gguf"); the caller's to free. */
char *oracle_member_path(const char *member, const char *file);

/* oracle_check_file for every member, with the device and the types of `on`: on a ring, by several cuts and both layouts; with
   single tokens, and queries that travel; as its GGUF file. */
void oracle_check_family_on_ring(lariat_options on, int32_t ranks);
void oracle_check_family_by_tokens_and_queries(lariat_options on);
void oracle_check_family_as_gguf(lariat_options on);

/* Opens an engine or fails the test with the reason. */
lariat_engine *open_or_fail(const char *path, lariat_options options);
