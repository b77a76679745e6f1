/* Where the reference data lies: the folder with the whole of it, if this machine has one (LARIAT_REFERENCE, or ../shared
   beside the checkout), otherwise what the repository carries of it (tests/data/README.md), unpacked by the build. And where
   scripts/fetch-model.sh puts the demo's model. TEST_QUICK, 1 or 0, comes from tests/CMakeLists.txt: the build is a slow one
   (sanitizers, no SIMD), so that tests keep to the tiny models, rings of 1, 3 and 8, and short texts. */
#pragma once

#include <stdbool.h>

enum { TEST_SKIPPED = 77 }; /* exit status that CTest counts as skipped */

/* The path of `name` ("reference/models/mha-bf16") there, allocated, or NULL if it is in neither. */
char *reference_path(const char *name);

/* Whether the reference models are in either place. If not, prints why the test is skipped. */
bool reference_models_found(void);

/* The path of the demo's model, SmolLM2-135M-Instruct.Q4_1.gguf in the user's cache, allocated, or NULL if it was not
   fetched. */
char *demo_model_path(void);

/* Rings to test after one of `ranks`: all up to 8, in slow builds 1, 3 and 8. */
#ifndef TEST_ALL_RINGS
#define TEST_ALL_RINGS !TEST_QUICK
#endif
static inline int next_ring(int ranks)
{
    return TEST_ALL_RINGS ? ranks + 1 : ranks < 3 ? 3 : ranks < 8 ? 8 : 9;
}
