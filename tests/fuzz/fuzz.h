/* What every fuzz target does: look at the outcome of reading hostile bytes.
   Rests on libFuzzer, which calls LLVMFuzzerTestOneInput, and on the sanitizers, which see what must not be touched.
   Targets are fuzz_NAME.c beside this; run.sh runs one. */
#pragma once

#include "base/fail.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process, so that libFuzzer keeps the input. */
#define CHECK(condition)                                                           \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                               \
        }                                                                          \
    } while (0)

/* True if it was read; otherwise the reason must be one harmless line. */
static inline bool was_read(lariat_status status)
{
    if (status == LARIAT_OK) {
        return true;
    }
    CHECK(*lariat_error());
    for (const char *c = lariat_error(); *c; c++) {
        CHECK((unsigned char)*c >= ' ' && *c != 127);
    }
    return false;
}

/* Reads every byte, for the address sanitizer to see. */
static inline void touch(const void *data, size_t size)
{
    const volatile uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        (void)bytes[i];
    }
}
