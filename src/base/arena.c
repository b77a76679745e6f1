/* One block of memory, handed out in pieces.
   Rests on mmap. See arena.h. */
#include "base/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

size_t bytes_of(int64_t a, int64_t b, size_t c)
{
    size_t product;

    if (a < 0 || b < 0 || __builtin_mul_overflow((size_t)a, (size_t)b, &product) ||
        __builtin_mul_overflow(product, c, &product)) {
        return SIZE_MAX;
    }
    return product;
}

size_t arena_need(size_t bytes)
{
    if (bytes > SIZE_MAX - ARENA_ALIGN) {
        return SIZE_MAX;
    }
    return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

size_t arena_sum(const size_t pieces[], size_t n)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        if (pieces[i] == SIZE_MAX || __builtin_add_overflow(sum, arena_need(pieces[i]), &sum)) {
            return SIZE_MAX;
        }
    }
    return sum;
}

lariat_status arena_open(arena *a, size_t size, const char *what)
{
    *a = (arena){0};
    if (size == 0) {
        size = ARENA_ALIGN;
    }
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return fail(LARIAT_NO_MEMORY, "%s: the system has no %.1f MB: %s, end other programs or ask for less", what,
                    (double)size / 1e6, strerror(errno));
    }
    if (size >= HUGE_PAGE) {
        /* Only a hint: fewer TLB misses where keys and values are long. */
        (void)madvise(base, size, MADV_HUGEPAGE);
    }
    a->base = base;
    a->size = size;
    return LARIAT_OK;
}

void arena_close(arena *a)
{
    if (a->base) {
        munmap(a->base, a->size);
    }
    *a = (arena){0};
}

void arena_count(arena *a)
{
    *a = (arena){.size = SIZE_MAX};
}

void *arena_take(arena *a, size_t bytes)
{
    size_t need = arena_need(bytes);

    if (!a->base && a->size == SIZE_MAX) {
        a->used = need > SIZE_MAX - a->used ? SIZE_MAX : a->used + need;
        return NULL;
    }
    if (need > a->size - a->used) {
        abort();
    }
    void *piece = a->base + a->used;
    a->used += need;
    return piece;
}
