/* What a long prompt costs an answer that is under way, and what that costs the prompt: the largest gap between two tokens of
   one, the rate at which the other is read beside it, and alone. By the clock, and by the CPU time of all threads over their
   number, which is less disturbed where other programs run too.
   Rests on schedule/scheduler.h. Usage: bench_schedule [-p PROMPTS] [-b BUDGET]... [-g] [-r RANKS] MODEL
   MODEL is a file, a directory or random:NAME; -g computes on GPUs, -b names budgets other than the scheduler's own. */
#define BENCH "bench_schedule"
#include "bench/bench.h"

#include "base/clock.h"
#include "schedule/scheduler.h"

#include <sys/resource.h>
#include <unistd.h>

enum {
    PROMPT = 4000,
    FIRST = 16, /* tokens of the answer before a prompt arrives */
    PROMPTS = 4,
    CONTEXT = 8192,
    PROMPTS_MOST = 100,
    BUDGETS_MOST = 16,
    GAPS_MOST = 1 << 16
};

/* Seconds: by the clock, and of the CPU over the threads. */
enum { CLOCK, CPU, KINDS };

/* The answers' tokens. */
typedef struct answer {
    int n, n_gaps; /* of the newest, of all */
    double last[KINDS], gaps[KINDS][GAPS_MOST]; /* between two tokens */
} answer;

typedef struct measured {
    scheduler *schedule;
    int32_t vocab, threads;
    int seed; /* of the newest prompt: no two begin alike */
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
        if (a->n && a->n_gaps < GAPS_MOST) {
            a->gaps[k][a->n_gaps] = at[k] - a->last[k];
        }
        a->last[k] = at[k];
    }
    a->n_gaps += a->n && a->n_gaps < GAPS_MOST;
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

/* Reads a prompt to its first token: tokens a second. */
static void read_one(measured *m, double rate[KINDS])
{
    static int32_t prompt[PROMPT];
    static job j;

    m->seed++;
    for (int i = 0; i < PROMPT; i++) {
        prompt[i] = (int32_t)(((int64_t)i * 7919 + 104729 * (int64_t)m->seed) % m->vocab);
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

/* Reads a prompt while an answer is under way. */
static void read_beside(measured *m, double rate[KINDS])
{
    static const int32_t question[] = {1, 2, 3, 4, 5, 6, 7, 8};
    static job j;

    m->answer.n = 0;
    m->wanted = true;
    add(m, &j, question, sizeof question / sizeof *question, CONTEXT - PROMPT);
    while (m->answer.n < FIRST) {
        pass(m);
    }
    read_one(m, rate);
    m->wanted = false;
    while (scheduler_jobs(m->schedule)) {
        pass(m);
    }
}

/* In turns, as machines drift. */
static void bench(measured *m, int prompts)
{
    static const char *const names[KINDS] = {"clock", "CPU"};
    double alone[KINDS][PROMPTS_MOST], beside[KINDS][PROMPTS_MOST], shares[KINDS][PROMPTS_MOST], rate[KINDS], mixed[KINDS];
    size_t n = (size_t)prompts;

    read_one(m, rate); /* warms up */
    m->answer.n_gaps = 0;
    for (size_t i = 0; i < n; i++) {
        read_one(m, rate);
        read_beside(m, mixed);
        for (int k = 0; k < KINDS; k++) {
            alone[k][i] = rate[k];
            beside[k][i] = mixed[k];
            shares[k][i] = mixed[k] / rate[k];
        }
    }
    size_t n_gaps = (size_t)m->answer.n_gaps;
    for (int k = 0; k < KINDS; k++) {
        double *gaps = m->answer.gaps[k], middle = median_of(gaps, n_gaps);
        printf("%s: prompts of %d tokens alone %.0f tokens/s, beside an answer %.0f (median of the shares %.2f)\n", names[k],
               PROMPT, median_of(alone[k], n), median_of(beside[k], n), median_of(shares[k], n));
        printf("%s: gaps of the answer, %zu: median %.1f ms, 99 %% %.1f ms, largest %.1f ms\n", names[k], n_gaps, 1e3 * middle,
               1e3 * gaps[n_gaps * 99 / 100], 1e3 * gaps[n_gaps - 1]);
    }
}

/* One budget, 0: the scheduler's own. */
static void bench_budget(measured *m, lariat_engine *e, int32_t budget, int prompts)
{
    m->schedule = check_memory(scheduler_open(&(scheduler_setup){.engine = e, .sessions = 2, .budget = budget}));
    printf("budget %d tokens, %d threads\n", budget ? budget : scheduler_budget(e), m->threads);
    bench(m, prompts);
    fflush(stdout);
    scheduler_close(m->schedule);
}

int main(int argc, char **argv)
{
    static measured m;
    int prompts = PROMPTS, n = 0;
    int32_t budgets[BUDGETS_MOST + 1] = {0};
    lariat_options o = {.device = LARIAT_DEVICE_CPU, .context = (int64_t)2 * CONTEXT, .sessions = 2};
    lariat_engine *e;

    for (int option; (option = getopt(argc, argv, "p:b:gr:")) != -1;) {
        switch (option) {
        case 'p': prompts = atoi(optarg); break;
        case 'b': budgets[n] = atoi(optarg), n += n < BUDGETS_MOST; break;
        case 'g': o.device = LARIAT_DEVICE_CUDA; break;
        case 'r': o.ranks = atoi(optarg); break;
        default: prompts = 0; break;
        }
    }
    if (optind != argc - 1 || prompts < 1 || prompts > PROMPTS_MOST) {
        fprintf(stderr, "usage: bench_schedule [-p PROMPTS] [-b BUDGET]... [-g] [-r RANKS] MODEL\n");
        return 2;
    }
    demand(lariat_engine_open(argv[optind], &o, &e));
    m.vocab = lariat_engine_model(e)->vocab;
    m.threads = lariat_engine_plan(e)->threads;
    for (int i = 0; i < (n ? n : 1); i++) {
        bench_budget(&m, e, budgets[i], prompts);
    }
    demand(lariat_engine_close(e));
    return 0;
}
