/* All-gathers over processes: each process sends the columns of all its ranks to each other process, once all have written
   them.
   Rests on mpi_transport.c. See mpi_transport.h; in_process.c has the rows.

   The columns of one row arrive where they belong; those of several rows arrive packed, and are copied there when all are here.

   The first rank of this process to enter posts the receives, the last one sends. The others' columns of rows k may arrive as
   soon as one rank has entered k: all have entered k - 1 then, so none reads rows k - 2 any more, which had this buffer. This
   process's columns of k are written again once k + 1 has landed, so it waits for the sends of k. */
#include "comm/mpi/mpi_transport.h"

#include <string.h>

static bool is_plain(const comm_piece *columns)
{
    return columns->rows <= 1 || columns->stride == columns->bytes;
}

/* All columns have arrived: copies packed ones to their rows. */
static void unpack(mpi_gathers *a, int count)
{
    const unsigned char *from = a->staging;

    for (int i = 0; i < count; i++) {
        const comm_piece *p = &a->theirs[i];
        for (int64_t row = 0; row < p->rows && !is_plain(p); row++, from += p->bytes) {
            memcpy(a->rows + p->offset + (size_t)row * p->stride, from, p->bytes);
        }
        a->theirs[i] = (comm_piece){0};
    }
}

/* Has the posted one landed? Inside the lock. */
static void finish_if_landed(mpi_group *g)
{
    mpi_gathers *a = &g->gathers;

    if (a->missing == 0 && a->unsent[(a->posted - 1) & 1] == 0) {
        unpack(a, g->p->base.count);
        atomic_store_explicit(&a->landed, a->posted, memory_order_release);
    }
}

static void columns_came(mpi_note *n, const mpi_done *d)
{
    mpi_group *g = MPI_NOTE_OF(n, mpi_group, gathers.came);

    mpi_received(g, d);
    if (d->arrived) {
        g->gathers.missing--;
        finish_if_landed(g);
    }
}

static void columns_left(mpi_group *g, int turn)
{
    atomic_fetch_sub(&g->p->data, 1);
    g->gathers.unsent[turn]--;
    finish_if_landed(g);
}

static void even_left(mpi_note *n, const mpi_done *d)
{
    (void)d;
    columns_left(MPI_NOTE_OF(n, mpi_group, gathers.left[0]), 0);
}

static void odd_left(mpi_note *n, const mpi_done *d)
{
    (void)d;
    columns_left(MPI_NOTE_OF(n, mpi_group, gathers.left[1]), 1);
}

void mpi_gathers_open(mpi_gathers *a)
{
    a->came.done = columns_came;
    a->left[0].done = even_left;
    a->left[1].done = odd_left;
}

void mpi_gathers_reset(mpi_gathers *a, int count)
{
    memset(a->theirs, 0, (size_t)count * sizeof *a->theirs);
    atomic_store(&a->entered, 0);
    atomic_store(&a->landed, 0);
    a->posted = 0;
    a->missing = 0;
}

/* The columns of a process's ranks in all rows. False: there are none, and none are sent. */
static bool columns_of(const mpi_group *g, int process, const comm_gather *rows, comm_piece *out)
{
    const process_info *i = &g->p->list[process];

    if (rows->rows == 0) {
        *out = (comm_piece){0};
        return true;
    }
    size_t begin = rows->begin[i->first_rank], width = rows->begin[i->first_rank + i->n_ranks] - begin;
    *out = (comm_piece){.offset = begin, .bytes = width, .stride = rows->stride, .rows = rows->rows};
    return width > 0;
}

static void send_columns(mpi_group *g, const comm_gather *rows, const void *at, uint32_t number)
{
    comm_piece own;

    if (!columns_of(g, g->p->base.number, rows, &own)) {
        return;
    }
    for (int i = 1, n = g->p->base.count; i < n; i++) {
        int to = (g->p->base.number + i) % n, turn = (int)(number & 1);
        g->gathers.unsent[turn] +=
            mpi_send_pieces(g, to, mpi_tag(g, MPI_KIND_GATHER, 0, 0, number), at, &own, 1, &g->gathers.left[turn]);
    }
}

static void post_columns(mpi_group *g, const comm_gather *rows, unsigned char *at, uint32_t number)
{
    mpi_gathers *a = &g->gathers;
    unsigned char *staging = a->staging;

    a->posted = number;
    a->rows = at;
    for (int from = 0; from < g->p->base.count; from++) {
        comm_piece *theirs = &a->theirs[from];
        if (from == g->p->base.number || !columns_of(g, from, rows, theirs)) {
            *theirs = (comm_piece){0};
            continue;
        }
        unsigned char *to = is_plain(theirs) ? at + theirs->offset : staging;
        staging += is_plain(theirs) ? 0 : mpi_packed(theirs, 1);
        a->missing += mpi_receive_pieces(g, from, mpi_tag(g, MPI_KIND_GATHER, 0, 0, number), to, theirs, 1, &a->came);
    }
    finish_if_landed(g);
}

static bool has_landed(const void *arg)
{
    const mpi_endpoint *c = arg;

    return (int32_t)(atomic_load_explicit(&c->group->gathers.landed, memory_order_acquire) - c->gathers) >= 0;
}

lariat_status mpi_all_gather(comm *base, const comm_gather *rows)
{
    mpi_endpoint *c = (mpi_endpoint *)base;
    mpi_group *g = c->group;
    size_t bytes = comm_gather_bytes(rows, base->n);
    void *at = comm_rows(c->local);

    if (bytes > g->setup.message_bytes) {
        return fail(LARIAT_FAILED, "rank %d: rows of %zu bytes, planned were %zu, please report this", base->rank, bytes,
                    g->setup.message_bytes);
    }
    if (atomic_load_explicit(&g->cancelled, memory_order_relaxed)) {
        return mpi_stopped(c);
    }
    uint32_t number = ++c->gathers;
    int n = g->base.n_local, order = (int)(atomic_fetch_add(&g->gathers.entered, 1) % (uint32_t)n);
    if (g->p->base.count > 1 && (order == 0 || order == n - 1)) {
        wire_lock(g->p);
        if (order == n - 1) {
            send_columns(g, rows, at, number);
        }
        if (order == 0) {
            post_columns(g, rows, at, number);
        }
        wire_progress(g->p);
        wire_unlock(g->p);
    }
    comm_gather here = *rows;
    here.into = NULL; /* not complete yet */
    here.merge = NULL;
    TRY(comm_all_gather(mpi_local(c), &here));
    return g->p->base.count > 1 ? mpi_wait_for(c, has_landed, c, &(lariat_span){.owner = -1}) : LARIAT_OK;
}
