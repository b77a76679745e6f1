/* The three ways of merging a word's symbols, in turns: words of several lengths, one long word, prose.
   Rests on text/merge.h. Usage: bench_merge MODEL [FILE [REPETITIONS]]
   MODEL: a GGUF file, tokenizer.json or tokenizer.model; FILE: prose. Prints medians in megabytes a second. */
#define BENCH "bench_merge"
#include "bench/bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "text/merge.h"
#include "text/vocabulary.h"

enum { WAYS = 3, REPETITIONS = 9, MOST = 99, TOTAL = 1 << 20, SHORTEST_QUEUED = 512 };

/* Merges `size` bytes of text in words of `word` bytes, or, with 0, up to each space. Returns seconds. */
static double timed(merger *m, merge_way way, const char *text, size_t size, size_t word, id_list *ids)
{
    double began = clock_now();

    m->way = way;
    ids->n = 0;
    for (size_t at = 0; at < size;) {
        size_t left = size - at, n = word < left ? word : left;
        if (word == 0) {
            const char *end = memchr(text + at + 1, ' ', left - 1);
            n = end ? (size_t)(end - text) - at : left;
        }
        demand(merge_word(m, text + at, n, ids));
        at += n;
    }
    return clock_now() - began;
}

/* A scan takes few symbols; the queues, one for each rank of merges, cost much for a short word. */
static bool applies(merge_way way, size_t word)
{
    return way == MERGE_HEAP || (way == MERGE_SCAN ? word <= MERGE_FEW : word >= SHORTEST_QUEUED);
}

/* One line: each way on the same words, another first each time; all must make the same ids. */
static void compare(merger *m, const char *what, const char *text, size_t size, size_t word, int repetitions)
{
    static const merge_way ways[WAYS] = {MERGE_HEAP, MERGE_SCAN, MERGE_QUEUES};
    double spent[WAYS][MOST];
    id_list ids[WAYS] = {{0}};

    for (int i = 0; i < repetitions; i++) {
        for (int turn = 0; turn < WAYS; turn++) {
            int w = (i + turn) % WAYS;
            spent[w][i] = applies(ways[w], word) ? timed(m, ways[w], text, size, word, &ids[w]) : 0;
        }
    }
    printf("%-28s %8zu", what, word);
    for (int w = 0; w < WAYS; w++) {
        if (!applies(ways[w], word)) {
            printf(" %9s", "-");
            continue;
        }
        if (ids[w].n != ids[0].n || memcmp(ids[w].data, ids[0].data, (size_t)ids[0].n * sizeof *ids[0].data) != 0) {
            fprintf(stderr, BENCH ": %s: the ways differ\n", what);
            exit(EXIT_FAILURE);
        }
        printf(" %9.2f", (double)size / median_of(spent[w], (size_t)repetitions) / 1e6);
    }
    printf("\n");
    for (int w = 0; w < WAYS; w++) {
        id_list_free(&ids[w]);
    }
}

/* Letters of an alphabet, from a fixed seed. */
static void fill(char *text, const char *letters)
{
    uint64_t state = 15;
    size_t n = strlen(letters);

    for (size_t i = 0; i < TOTAL; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        text[i] = letters[(state >> 33) % n];
    }
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {8, 16, 24, 32, 128, 512, 1024, 2048, 4096, 8192, 65536, TOTAL};
    static const char *const alphabets[] = {"abcdefghijklmnopqrstuvwxyz", "a", "acgt"};
    static const char *const names[] = {"random letters", "a", "a, c, g, t"};
    int repetitions = argc > 3 ? atoi(argv[3]) : REPETITIONS;
    char *text = check_memory(malloc(TOTAL));
    lariat_tokenizer *t;

    if (argc < 2 || repetitions < 1 || repetitions > MOST) {
        fprintf(stderr, "usage: " BENCH " MODEL [FILE [REPETITIONS]]\n");
        return EXIT_FAILURE;
    }
    demand(lariat_tokenizer_open(argv[1], &t));
    merger m = {.t = t};
    printf("%-28s %8s %9s %9s %9s  MB/s\n", "words of", "bytes", "heap", "scan", "queues");
    if (argc > 2) {
        mapped_file f;
        demand(map_file(argv[2], &f));
        compare(&m, "prose, cut at spaces", (const char *)f.data, f.size < TOTAL ? f.size : TOTAL, 0, repetitions);
        unmap_file(&f);
    }
    for (size_t a = 0; a < sizeof alphabets / sizeof *alphabets; a++) {
        fill(text, alphabets[a]);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            compare(&m, names[a], text, sizes[s] < 4096 ? TOTAL / 16 : TOTAL, sizes[s], repetitions);
        }
    }
    merger_free(&m);
    lariat_tokenizer_close(t);
    free(text);
    return 0;
}
