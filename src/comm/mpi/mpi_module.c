/* Messages over MPI 3.1: requests in one array, tested together.
   Rests on mpi.h of the MPI that this module is for. See mpi_module.h. */
#include "comm/mpi/mpi_module.h"

#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

typedef struct open_message {
    void *note;
    int peer;
    bool receives;
} open_message;

struct mpi_wire {
    MPI_Comm lanes[MPI_LANES];
    int n, room;
    MPI_Request *requests; /* [room] */
    open_message *open;    /* [room], of each request */
    int *which;            /* [room], of requests that MPI_Testsome found */
    MPI_Status *statuses;  /* [room], likewise */
    mpi_done *done;        /* [room] */
    MPI_Request swap[2];   /* of swap: sent, received */
};

/* --- start and stop --- */

/* The block with room for so many elements, or as it was: then not all are there. */
static void *larger(void *block, int room, size_t size, bool *all)
{
    void *grown = realloc(block, (size_t)room * size);

    if (!grown) {
        *all = false;
        return block;
    }
    return grown;
}

static bool grow(mpi_wire *w, int room)
{
    bool all = true;

    w->requests = larger(w->requests, room, sizeof *w->requests, &all);
    w->open = larger(w->open, room, sizeof *w->open, &all);
    w->which = larger(w->which, room, sizeof *w->which, &all);
    w->statuses = larger(w->statuses, room, sizeof *w->statuses, &all);
    w->done = larger(w->done, room, sizeof *w->done, &all);
    w->room = all ? room : w->room;
    return all;
}

static void free_wire(mpi_wire *w)
{
    free(w->requests);
    free(w->open);
    free(w->which);
    free(w->statuses);
    free(w->done);
    free(w);
}

/* The copy of a communicator without a call that blocks in it. */
static int copy_world(MPI_Comm *out)
{
    MPI_Request request;
    int error = MPI_Comm_idup(MPI_COMM_WORLD, out, &request);

    for (int there = 0; error == MPI_SUCCESS && !there;) {
        error = MPI_Test(&request, &there, MPI_STATUS_IGNORE);
        sched_yield();
    }
    return error == MPI_SUCCESS ? MPI_Comm_set_errhandler(*out, MPI_ERRORS_RETURN) : error;
}

/* The first line, without what follows a comma: "Open MPI v4.1.4". */
static void name_library(char *out, size_t size)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int n = 0;

    (void)MPI_Get_library_version(text, &n);
    text[strcspn(text, ",\n")] = 0;
    for (size_t i = 0, to = 0; to + 1 < size; i++) {
        out[to] = text[i] == '\t' ? ' ' : text[i];
        if (!text[i]) {
            break;
        }
        to += out[to] != ' ' || text[i + 1] != '\t';
    }
    out[size - 1] = 0;
}

static int start(mpi_wire **out, mpi_world *world, const char **what)
{
    mpi_wire *w = calloc(1, sizeof *w);
    int level = MPI_THREAD_SINGLE, found = 0, error = MPI_SUCCESS, *most = NULL;

    *what = "memory";
    if (!w) {
        return -1;
    }
    if (!grow(w, 64)) {
        free_wire(w);
        return -1;
    }
    *out = w;
    *what = "MPI_Init_thread";
    error = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level);
    if (error == MPI_SUCCESS && level < MPI_THREAD_SERIALIZED) {
        *what = "MPI_THREAD_SERIALIZED";
        return -1;
    }
    if (error == MPI_SUCCESS) {
        *what = "MPI_Comm_set_errhandler";
        error = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    }
    for (int i = 0; i < MPI_LANES && error == MPI_SUCCESS; i++) {
        *what = "MPI_Comm_idup";
        error = copy_world(&w->lanes[i]);
    }
    if (error == MPI_SUCCESS) {
        *what = "MPI_Comm_rank";
        (void)MPI_Comm_rank(MPI_COMM_WORLD, &world->number);
        (void)MPI_Comm_size(MPI_COMM_WORLD, &world->count);
        error = MPI_Comm_get_attr(w->lanes[MPI_LANE_DATA], MPI_TAG_UB, (void *)&most, &found);
        world->tag_max = found ? *most : 32767; /* the least that the standard allows */
        name_library(world->library, sizeof world->library);
    }
    return error;
}

static int stop(mpi_wire *w)
{
    /* Receives that are posted all the time: for beats and news. */
    for (int i = 0; i < w->n; i++) {
        (void)MPI_Cancel(&w->requests[i]);
        (void)MPI_Request_free(&w->requests[i]);
    }
    free_wire(w);
    return MPI_Finalize();
}

/* --- messages --- */

/* The pieces as one datatype, from `base` on. */
static int type_of(const mpi_message *m, MPI_Datatype *out)
{
    MPI_Datatype rows[MPI_MESSAGE_PIECES];
    MPI_Aint at[MPI_MESSAGE_PIECES] = {0};
    int ones[MPI_MESSAGE_PIECES] = {0}, error = MPI_SUCCESS;

    for (int i = 0; i < MPI_MESSAGE_PIECES; i++) {
        rows[i] = MPI_DATATYPE_NULL;
    }
    for (int i = 0; i < m->n && error == MPI_SUCCESS; i++) {
        const comm_piece *p = &m->list[i];
        ones[i] = 1;
        at[i] = (MPI_Aint)p->offset;
        error = MPI_Type_create_hvector((int)p->rows, (int)p->bytes, (MPI_Aint)p->stride, MPI_BYTE, &rows[i]);
    }
    if (error == MPI_SUCCESS) {
        error = MPI_Type_create_struct(m->n, ones, at, rows, out);
    }
    if (error == MPI_SUCCESS) {
        error = MPI_Type_commit(out);
    }
    for (int i = 0; i < m->n; i++) {
        if (rows[i] != MPI_DATATYPE_NULL) {
            (void)MPI_Type_free(&rows[i]);
        }
    }
    return error;
}

static int post(mpi_wire *w, const mpi_message *m, bool receives)
{
    const comm_piece *p = m->list;
    bool is_plain = m->n == 0 || (m->n == 1 && (p->rows <= 1 || p->stride == p->bytes));
    unsigned char *at = is_plain && m->n ? (unsigned char *)m->base + p->offset : m->base;
    MPI_Datatype type = MPI_BYTE;
    int count = is_plain ? (m->n ? (int)((size_t)p->rows * p->bytes) : 0) : 1, error = MPI_SUCCESS;
    int peer = m->peer == MPI_ANY ? MPI_ANY_SOURCE : m->peer;

    if (w->n == w->room && !grow(w, 2 * w->room)) {
        return MPI_ERR_NO_MEM;
    }
    if (!is_plain && (error = type_of(m, &type)) != MPI_SUCCESS) {
        return error;
    }
    error = receives ? MPI_Irecv(at, count, type, peer, m->tag, w->lanes[m->lane], &w->requests[w->n])
                     : MPI_Isend(at, count, type, peer, m->tag, w->lanes[m->lane], &w->requests[w->n]);
    if (!is_plain) {
        (void)MPI_Type_free(&type); /* messages under way keep it */
    }
    if (error == MPI_SUCCESS) {
        w->open[w->n++] = (open_message){.note = m->note, .peer = m->peer, .receives = receives};
    }
    return error;
}

static int send_message(mpi_wire *w, const mpi_message *m)
{
    return post(w, m, false);
}

static int receive_message(mpi_wire *w, const mpi_message *m)
{
    return post(w, m, true);
}

static mpi_done outcome(const open_message *o, const MPI_Status *s, bool has_error)
{
    mpi_done d = {.note = o->note, .peer = o->peer, .error = has_error ? s->MPI_ERROR : MPI_SUCCESS};
    int cancelled = 0, bytes = 0;

    if (o->receives && d.error == MPI_SUCCESS) {
        (void)MPI_Test_cancelled(s, &cancelled);
        if (!cancelled) {
            (void)MPI_Get_count(s, MPI_BYTE, &bytes);
            d.arrived = true;
            d.peer = s->MPI_SOURCE;
            d.bytes = bytes > 0 ? (size_t)bytes : 0;
        }
    }
    return d;
}

static int test(mpi_wire *w, void (*done)(void *arg, const mpi_done *d), void *arg)
{
    int n = 0, left = 0, error;

    if (w->n == 0) {
        return MPI_SUCCESS;
    }
    error = MPI_Testsome(w->n, w->requests, &n, w->which, w->statuses);
    if (error != MPI_SUCCESS && error != MPI_ERR_IN_STATUS) {
        return error;
    }
    if (n == MPI_UNDEFINED || n == 0) {
        return MPI_SUCCESS;
    }
    for (int i = 0; i < n; i++) {
        w->done[i] = outcome(&w->open[w->which[i]], &w->statuses[i], error == MPI_ERR_IN_STATUS);
    }
    for (int i = 0; i < w->n; i++) {
        if (w->requests[i] != MPI_REQUEST_NULL) {
            w->requests[left] = w->requests[i];
            w->open[left++] = w->open[i];
        }
    }
    w->n = left;
    for (int i = 0; i < n; i++) {
        mpi_done d = w->done[i]; /* the array may move meanwhile */
        done(arg, &d);
    }
    return MPI_SUCCESS;
}

static int cancel(mpi_wire *w, const void *note)
{
    int error = MPI_SUCCESS;

    for (int i = 0; i < w->n && error == MPI_SUCCESS; i++) {
        if (w->open[i].receives && w->open[i].note == note) {
            error = MPI_Cancel(&w->requests[i]);
        }
    }
    return error;
}

static int probe(mpi_wire *w, mpi_lane lane, int peer, bool *there, int *tag, size_t *bytes)
{
    MPI_Status status;
    int found = 0, count = 0, error = MPI_Iprobe(peer, MPI_ANY_TAG, w->lanes[lane], &found, &status);

    *there = error == MPI_SUCCESS && found;
    if (*there) {
        error = MPI_Get_count(&status, MPI_BYTE, &count);
        *tag = status.MPI_TAG;
        *bytes = count > 0 ? (size_t)count : 0;
    }
    return error;
}

static int swap(mpi_wire *w, int to, const void *out, int from, void *in, size_t bytes)
{
    enum { TAG = 0x5a };
    MPI_Comm lane = w->lanes[MPI_LANE_CONTROL];
    int error = MPI_SUCCESS;

    w->swap[0] = w->swap[1] = MPI_REQUEST_NULL;
    if (from >= 0) {
        error = MPI_Irecv(in, (int)bytes, MPI_BYTE, from, TAG, lane, &w->swap[1]);
    }
    /* NOLINTBEGIN(*MPI-Checker): swapped() waits */
    return error == MPI_SUCCESS && to >= 0 ? MPI_Isend(out, (int)bytes, MPI_BYTE, to, TAG, lane, &w->swap[0]) : error;
    /* NOLINTEND(*MPI-Checker) */
}

static int swapped(mpi_wire *w, bool *done)
{
    MPI_Status unused[2];
    int all = 0, error = MPI_Testall(2, w->swap, &all, unused);

    *done = all;
    return error;
}

static void explain(int error, char *text, size_t size)
{
    char words[MPI_MAX_ERROR_STRING] = "";
    int n = 0;

    if (MPI_Error_string(error, words, &n) != MPI_SUCCESS || size == 0) {
        return;
    }
    words[strcspn(words, "\n")] = 0;
    n = (int)strlen(words) < (int)size - 1 ? (int)strlen(words) : (int)size - 1;
    memcpy(text, words, (size_t)n);
    text[n] = 0;
}

/* --- the entry --- */

static const mpi_module module = {
    .abi = MPI_MODULE_ABI,
    .start = start,
    .stop = stop,
    .send = send_message,
    .receive = receive_message,
    .test = test,
    .cancel = cancel,
    .probe = probe,
    .explain = explain,
    .swap = swap,
    .swapped = swapped,
};

__attribute__((visibility("default"))) const mpi_module *lariat_mpi_module(int abi);

const mpi_module *lariat_mpi_module(int abi)
{
    return abi == MPI_MODULE_ABI ? &module : NULL;
}
