/* Memory whose size is known before it is used: one block, handed out in aligned pieces, freed at once.
   Rests on mmap, so that untouched pages cost nothing and large blocks are huge pages where the system has them. */
#pragma once

#include "base/fail.h"

#include <stddef.h>
#include <stdint.h>

enum { ARENA_ALIGN = 64 }; /* a cache line, and the widest vector */

typedef struct arena {
    unsigned char *base;
    size_t size, used;
} arena;

/* Reserves `size` bytes, zeroed. `what` names the purpose in the message if there is no memory. */
lariat_status arena_open(arena *a, size_t size, const char *what);
void arena_close(arena *a);

/* Instead of opening: an arena without memory that only counts. The function that takes a struct's buffers is called with it
   for their size, which is `used` then (SIZE_MAX if a size was that or the sum overflows), and with an opened one for the
   buffers. */
void arena_count(arena *a);

/* The next `bytes`, aligned to ARENA_ALIGN; NULL from an arena that only counts. Asking for more than was reserved is a bug in
   the plan and aborts. */
void *arena_take(arena *a, size_t bytes);

/* Bytes of an arena that arena_take(bytes) uses: for adding up a plan. */
size_t arena_need(size_t bytes);

/* a * b * c in bytes, or SIZE_MAX where it overflows. */
size_t bytes_of(int64_t a, int64_t b, size_t c);

/* Bytes that n pieces use together, or SIZE_MAX where one of them is that or it overflows. */
size_t arena_sum(const size_t pieces[], size_t n);
