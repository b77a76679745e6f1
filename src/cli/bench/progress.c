/* Progress of a benchmark, by the work of its samples and the speed so far.
   Rests on terminal.h. See progress.h. */
#include "cli/bench/progress.h"
#include "cli/terminal.h"

#include <math.h>
#include <stdio.h>

enum { MADE_COUNTS = 8 }; /* prefilled tokens in the time of one decoded token, roughly: decode reads the weights for one row */

static const double quiet_s = 1, between_s = 0.2;

double progress_cost(const options *o, const cell *c)
{
    double prompt = (double)c->n_prompt, reply = (double)c->n_gen, batch = (double)c->batch;
    double once = c->cached ? prompt + MADE_COUNTS * reply : (prompt + reply / 2) * (reply + 1);
    double warm_up = prompt + MADE_COUNTS * 4;
    return batch * ((double)c->depth + once + (double)o->warm_up * warm_up);
}

static void draw(bench_progress *p)
{
    double now = now_s(), spent = now - p->began_s, done = p->done + p->part * p->now;
    if (!p->wanted || spent < quiet_s || now - p->drawn_s < between_s || done <= 0) {
        return;
    }
    long long left = llround(spent / done * (p->total - done));
    left = left > 0 ? left : 0;
    fprintf(stderr, "\rround %lld of %lld, row %d of %d, %.0f %%, %lld:%02lld left\033[K", (long long)p->round + 1,
            (long long)p->rounds, p->at + 1, p->rows, 100 * done / p->total, left / 60, left % 60);
    p->drawn_s = now;
    p->shown = true;
}

void bench_progress_begin(bench_progress *p, double cost)
{
    p->now = cost;
    p->part = 0;
    p->taking = false;
    draw(p);
}

void bench_progress_take(bench_progress *p)
{
    p->taking = true;
}

void bench_progress_at(bench_progress *p, int64_t done, int64_t total)
{
    double part =
        p->taking && total > 1 ? (double)done / (double)total : 0; /* of the prompt; a decoded token is a step of one */
    p->part = part > p->part ? part : p->part;
    draw(p);
}

void bench_progress_done(bench_progress *p)
{
    p->done += p->now;
    p->now = 0;
}

void bench_progress_clear(bench_progress *p)
{
    if (p->shown) {
        fputs("\r\033[K", stderr);
        p->shown = false;
    }
}

void bench_progress_say(bench_progress *p, const char *what)
{
    if (p->wanted) {
        fprintf(stderr, "\r%s\033[K", what);
        p->shown = true;
    }
}
