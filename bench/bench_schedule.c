/* What a long prompt costs an answer that is under way, and what that costs the prompt: the largest gap between two tokens of
   one, the rate at which the other is read beside it, and alone. By the clock, and by the CPU time of all threads over their
   number, which is less disturbed where other programs run too.
   Rests on schedule/scheduler.h. Usage: bench_schedule MODEL [PROMPTS [gpu]] */
#define BENCH "bench_schedule"
#include "bench/bench.h"

#include "base/clock.h"
#include "schedule/scheduler.h"

#include <sys/resource.h>

enum {
    PROMPT = 4000,
    FIRST = 16, /* tokens of the answer before a prompt arrives, and between two of them */
    PROMPTS = 4,
    CONTEXT = 8192,
    PROMPTS_MOST = 100,
    GAPS_MOST = 1 << 16
};

/* Seconds: by the clock, and of the CPU over the threads. */
enum { CLOCK, CPU, KINDS };

typedef struct answer {
    int n;
    double last[KINDS], gaps[KINDS][GAPS_MOST]; /* between two tokens */
} answer;

typedef struct measured {
    scheduler *schedule;
    int32_t vocab, threads;
    answer answer;
    bool read, wanted; /* the prompt has its first token; the answer is to go on */
    double read_at[KINDS];
} measured;

static void now(const measured *m, double out[KINDS])
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    out[CLOCK] = clock_now();
    out[CPU] = ((double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec)) / m->threads;
}

static bool take_answer(job *j, const lariat_result *made)
{
    measured *m = j->user;
    answer *a = &m->answer;
    double at[KINDS];

    (void)made;
    now(m, at);
    for (int k = 0; k < KINDS; k++) {
        if (a->n && a->n <= GAPS_MOST) {
            a->gaps[k][a->n - 1] = at[k] - a->last[k];
        }
        a->last[k] = at[k];
    }
    a->n++;
    return m->wanted;
}

static bool take_first(job *j, const lariat_result *made)
{
    measured *m = j->user;

    (void)made;
    now(m, m->read_at);
    m->read = true;
    return false;
}

static void take_end(job *j)
{
    lariat_sampler_close(j->sampler);
    if (j->end == JOB_FAILED || j->end == JOB_LOST) {
        fprintf(stderr, BENCH ": %s\n", j->why);
        exit(EXIT_FAILURE);
    }
}

static void add(measured *m, job *j, const int32_t *prompt, int64_t n, int64_t most)
{
    *j = (job){.prompt = prompt, .n_prompt = n, .capacity = CONTEXT, .most = most,
               .on_token = most == 1 ? take_first : take_answer, .on_end = take_end, .user = m};
    demand(lariat_sampler_open(&(lariat_sampling){.top_p = 1}, m->vocab, &j->sampler));
    if (!scheduler_add(m->schedule, j)) {
        check_memory(NULL);
    }
}

static void pass(measured *m)
{
    pass_report report;

    demand(scheduler_pass(m->schedule, &report));
}

/* Reads a prompt to its first token: tokens a second. No two begin alike. */
static void read_one(measured *m, int seed, double rate[KINDS])
{
    static int32_t prompt[PROMPT];
    static job j;

    for (int i = 0; i < PROMPT; i++) {
        prompt[i] = (int32_t)(((int64_t)i * 7919 + 104729 * (int64_t)(seed + 1)) % m->vocab);
    }
    m->read = false;
    double began[KINDS];
    now(m, began);
    add(m, &j, prompt, PROMPT, 1);
    while (!m->read) {
        pass(m);
    }
    for (int k = 0; k < KINDS; k++) {
        rate[k] = PROMPT / (m->read_at[k] - began[k]);
    }
}

static double median_rate(double rates[][KINDS], int n, int kind)
{
    double values[PROMPTS_MOST];

    for (int i = 0; i < n; i++) {
        values[i] = rates[i][kind];
    }
    return median_of(values, (size_t)n);
}

static void bench(measured *m, int prompts)
{
    static const int32_t question[] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const char *const names[KINDS] = {"clock", "CPU"};
    static job j;
    double alone[PROMPTS_MOST][KINDS], beside[PROMPTS_MOST][KINDS];

    read_one(m, 0, alone[0]); /* warms up */
    for (int i = 0; i < prompts; i++) {
        read_one(m, i + 1, alone[i]);
    }
    m->wanted = true;
    add(m, &j, question, sizeof question / sizeof *question, CONTEXT - PROMPT);
    for (int i = 0; i < prompts; i++) {
        for (int end = m->answer.n + FIRST; m->answer.n < end;) {
            pass(m);
        }
        read_one(m, prompts + i + 1, beside[i]);
    }
    m->wanted = false;
    while (scheduler_jobs(m->schedule)) {
        pass(m);
    }
    size_t n = (size_t)m->answer.n - 1;
    for (int k = 0; k < KINDS; k++) {
        double rate = median_rate(alone, prompts, k), mixed = median_rate(beside, prompts, k);
        double *gaps = m->answer.gaps[k], middle = median_of(gaps, n);
        printf("%s: prompts of %d tokens alone %.0f tokens/s, beside an answer %.0f (%.2f)\n", names[k], PROMPT, rate, mixed,
               mixed / rate);
        printf("%s: gaps of the answer, %zu: median %.0f ms, 99 %% %.0f ms, largest %.0f ms\n", names[k], n, 1e3 * middle,
               1e3 * gaps[n * 99 / 100], 1e3 * gaps[n - 1]);
    }
}

int main(int argc, char **argv)
{
    static measured m;
    int prompts = argc > 2 ? atoi(argv[2]) : PROMPTS;
    bool on_gpus = argc == 4 && strcmp(argv[3], "gpu") == 0;
    lariat_options o = {.device = on_gpus ? LARIAT_DEVICE_CUDA : LARIAT_DEVICE_CPU, .context = (int64_t)2 * CONTEXT,
                        .sessions = 2};
    lariat_engine *e;

    if (argc < 2 || argc > 4 || (argc == 4 && !on_gpus) || prompts < 1 || prompts > PROMPTS_MOST) {
        fprintf(stderr, "usage: bench_schedule MODEL [PROMPTS [gpu]]\n");
        return 2;
    }
    demand(lariat_engine_open(argv[1], &o, &e));
    m.vocab = lariat_engine_model(e)->vocab;
    m.threads = lariat_engine_plan(e)->threads;
    m.schedule = check_memory(scheduler_open(&(scheduler_setup){.engine = e, .sessions = 2}));
    printf("budget %d tokens, %d threads\n", scheduler_budget(e), m.threads);
    bench(&m, prompts);
    scheduler_close(m.schedule);
    demand(lariat_engine_close(e));
    return 0;
}
