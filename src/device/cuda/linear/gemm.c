/* Matrix products of prefill: cublasLt, opened at run time, one algorithm a shape. Rests on cublasLt's public headers; the
   library itself (540 MB) is looked for when a device opens. cuda_device.c calls it for more rows of x than few_rows.cu takes
   at once.

   cublasLt counts columns first: y [n, rows] is its D [rows, n], w [rows, cols] its A transposed, x [n, cols] its B. The
   algorithm is the first that its heuristic names for the shape, strides and alignment, but for few rows (choose()), and is
   kept: the same command gives the same bits. No reduction scheme that adds in an order of arrival is allowed. */
#include "device/cuda/runtime/cuda_device.h"
#include "device/cuda/runtime/kernels.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHAPES = 256, /* kept at a time: a model has about six, times the sizes of chunks that occur */
    CHOICES = 8,  /* algorithms among which the fastest is looked for: the heuristic names the best ones first */
    COOPERATIVE = 5, /* the custom options from which on two warpgroups share a tile of cublasLt's kernels for Hopper */
};

static const size_t WORKSPACE_BYTES = (size_t)32 << 20; /* cublasLt's advice for Hopper; the rest of the scratch is for sums */

/* The key of a chosen algorithm. */
typedef struct gemm_shape {
    int64_t rows, n, cols, ldw, ldx, ldy;
    int32_t out_f32;
    uint32_t align_w, align_x, align_y;
} gemm_shape;

typedef struct gemm_plan {
    gemm_shape shape;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulAlgo_t algorithm;
    bool known, usable; /* usable: cublasLt has an algorithm */
} gemm_plan;

struct cuda_gemm {
    void *library;
    cublasLtHandle_t handle;
    __typeof__(cublasLtCreate) *create;
    __typeof__(cublasLtDestroy) *destroy;
    __typeof__(cublasLtMatmul) *matmul;
    __typeof__(cublasLtMatmulDescCreate) *product_create;
    __typeof__(cublasLtMatmulDescDestroy) *product_destroy;
    __typeof__(cublasLtMatmulDescSetAttribute) *product_set;
    __typeof__(cublasLtMatrixLayoutCreate) *layout_create;
    __typeof__(cublasLtMatrixLayoutDestroy) *layout_destroy;
    __typeof__(cublasLtMatmulPreferenceCreate) *preference_create;
    __typeof__(cublasLtMatmulPreferenceDestroy) *preference_destroy;
    __typeof__(cublasLtMatmulPreferenceSetAttribute) *preference_set;
    __typeof__(cublasLtMatmulAlgoGetHeuristic) *heuristic;
    __typeof__(cublasLtMatmulAlgoConfigGetAttribute) *algorithm_get;
    gemm_plan plans[SHAPES];
    int next; /* to be given up where all are taken */
};

/* --- the library --- */

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define LIBRARY "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)

static void *open_in(const char *folder, const char *below)
{
    char pattern[PATH_MAX];
    void *library = NULL;
    glob_t found;

    if (!folder || snprintf(pattern, sizeof pattern, "%s%s/" LIBRARY, folder, below) >= (int)sizeof pattern) {
        return NULL;
    }
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && !library; i++) {
            library = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
        }
    }
    globfree(&found);
    return library;
}

/* Where the system's loader finds it; else CUDA's own folder, then those of PyTorch. */
static void *open_library(void)
{
    static const char python[] = "/lib/python3*/site-packages/nvidia/cu" TEXT(CUBLAS_VER_MAJOR) "/lib";
    static const char home[] = "/.local/lib/python3*/site-packages/nvidia/cu" TEXT(CUBLAS_VER_MAJOR) "/lib";
    static const char distribution[] = "/lib/python3*/dist-packages/nvidia/cu" TEXT(CUBLAS_VER_MAJOR) "/lib";
    static const struct {
        const char *variable, *folder, *below;
    } folders[] = {
        {"LARIAT_CUBLASLT", NULL, ""},
        {"CUDA_HOME", NULL, "/lib64"},
        {"CUDA_PATH", NULL, "/lib64"},
        {NULL, "/usr/local/cuda", "/lib64"},
        {NULL, "/usr/local/cuda-" TEXT(CUBLAS_VER_MAJOR) "*", "/lib64"},
        {"VIRTUAL_ENV", NULL, python},
        {"CONDA_PREFIX", NULL, "/lib"},
        {"CONDA_PREFIX", NULL, python},
        {"HOME", NULL, home},
        {NULL, "/usr/local", distribution},
        {NULL, "/usr", distribution},
    };
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

    for (size_t i = 0; i < sizeof folders / sizeof *folders && !library; i++) {
        library = open_in(folders[i].variable ? getenv(folders[i].variable) : folders[i].folder, folders[i].below);
    }
    return library;
}

static bool find(cuda_gemm *g, const char *name, void *function)
{
    void *p = dlsym(g->library, name);

    memcpy(function, &p, sizeof p);
    return p != NULL;
}

static bool find_all(cuda_gemm *g)
{
    return find(g, "cublasLtCreate", &g->create) && find(g, "cublasLtDestroy", &g->destroy) &&
           find(g, "cublasLtMatmul", &g->matmul) && find(g, "cublasLtMatmulDescCreate", &g->product_create) &&
           find(g, "cublasLtMatmulDescDestroy", &g->product_destroy) &&
           find(g, "cublasLtMatmulDescSetAttribute", &g->product_set) &&
           find(g, "cublasLtMatrixLayoutCreate", &g->layout_create) &&
           find(g, "cublasLtMatrixLayoutDestroy", &g->layout_destroy) &&
           find(g, "cublasLtMatmulPreferenceCreate", &g->preference_create) &&
           find(g, "cublasLtMatmulPreferenceDestroy", &g->preference_destroy) &&
           find(g, "cublasLtMatmulPreferenceSetAttribute", &g->preference_set) &&
           find(g, "cublasLtMatmulAlgoGetHeuristic", &g->heuristic) &&
           find(g, "cublasLtMatmulAlgoConfigGetAttribute", &g->algorithm_get);
}

lariat_status cuda_gemm_open(cuda_device *dev)
{
    cuda_gemm *g = calloc(1, sizeof *g);

    TRY_MEMORY(g, "CUDA: card %d (%s): no memory for the shapes of matrix products" FREE_MEMORY, dev->ordinal, dev->name);
    dev->gemm = g;
    g->library = open_library();
    if (!g->library) {
        return fail(LARIAT_UNSUPPORTED,
                    "CUDA: no " LIBRARY " in the loader's path, CUDA's folder or PyTorch's: install CUDA %d's cuBLAS "
                    "(the package nvidia-cublas), say where with LARIAT_CUBLASLT=FOLDER, or use --device cpu",
                    CUBLAS_VER_MAJOR);
    }
    if (!find_all(g)) {
        return fail(LARIAT_UNSUPPORTED,
                    "CUDA: " LIBRARY " lacks functions that this build was made with: install CUDA %d's cuBLAS",
                    CUBLAS_VER_MAJOR);
    }
    cublasStatus_t status = g->create(&g->handle);
    return status == CUBLAS_STATUS_SUCCESS ? LARIAT_OK
                                           : fail(LARIAT_FAILED, "CUDA: card %d (%s): cublasLt cannot be started: error %d",
                                                  dev->ordinal, dev->name, (int)status);
}

static void forget(cuda_gemm *g, gemm_plan *p)
{
    if (p->product) {
        (void)g->product_destroy(p->product);
    }
    cublasLtMatrixLayout_t layouts[] = {p->w, p->x, p->y};
    for (int i = 0; i < 3; i++) {
        if (layouts[i]) {
            (void)g->layout_destroy(layouts[i]);
        }
    }
    *p = (gemm_plan){0};
}

void cuda_gemm_close(cuda_device *dev)
{
    cuda_gemm *g = dev->gemm;

    if (!g) {
        return;
    }
    for (int i = 0; i < SHAPES; i++) {
        forget(g, &g->plans[i]);
    }
    if (g->handle) {
        (void)g->destroy(g->handle);
    }
    if (g->library) {
        dlclose(g->library);
    }
    free(g);
    dev->gemm = NULL;
}

/* --- plans --- */

enum { ALIGNMENT_MOST = 256 };

/* The largest power of two, up to that, that divides an address. */
static uint32_t alignment(const void *p)
{
    uintptr_t bits = (uintptr_t)p | ALIGNMENT_MOST;

    return (uint32_t)(bits & (~bits + 1));
}

static bool describe(cuda_gemm *g, gemm_plan *p, cudaDataType_t in)
{
    const gemm_shape *s = &p->shape;
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasStatus_t status = g->product_create(&p->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);

    if (status == CUBLAS_STATUS_SUCCESS) {
        status = g->product_set(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = g->layout_create(&p->w, in, (uint64_t)s->cols, (uint64_t)s->rows, s->ldw);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = g->layout_create(&p->x, in, (uint64_t)s->cols, (uint64_t)s->n, s->ldx);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = g->layout_create(&p->y, s->out_f32 ? CUDA_R_32F : in, (uint64_t)s->rows, (uint64_t)s->n, s->ldy);
    }
    return status == CUBLAS_STATUS_SUCCESS;
}

/* The algorithms that the heuristic names first, those that can be used. */
static int name_algorithms(cuda_gemm *g, const gemm_plan *p, cublasLtMatmulAlgo_t out[], int most)
{
    const gemm_shape *s = &p->shape;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t size;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES, sizeof WORKSPACE_BYTES},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &s->align_w, sizeof s->align_w},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &s->align_x, sizeof s->align_x},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &s->align_y, sizeof s->align_y},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &s->align_y, sizeof s->align_y},
    };
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t results[CHOICES];
    int found = 0, usable = 0;
    cublasStatus_t status = g->preference_create(&preference);

    for (size_t i = 0; i < sizeof wishes / sizeof *wishes && status == CUBLAS_STATUS_SUCCESS; i++) {
        status = g->preference_set(preference, wishes[i].name, wishes[i].value, wishes[i].size);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = g->heuristic(g->handle, p->product, p->w, p->x, p->y, p->y, preference, most, results, &found);
    }
    if (preference) {
        (void)g->preference_destroy(preference);
    }
    for (int i = 0; i < found && status == CUBLAS_STATUS_SUCCESS; i++) {
        if (results[i].state == CUBLAS_STATUS_SUCCESS) {
            out[usable++] = results[i].algo;
        }
    }
    return usable;
}

static cudaDataType_t type_of(const cuda_device *dev)
{
    return dev->base.act == DTYPE_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

/* The first algorithm that is named. Of up to CUDA_MANY_ROWS rows of x the first that is not cooperative, if there is one: for
   28672 x 4096 and 128256 x 4096 on 128 rows those are named first, and are 6 % slower (docs/dev/kernels.md). All have the same
   order of sums. */
static bool choose(cuda_gemm *g, gemm_plan *p)
{
    cublasLtMatmulAlgo_t named[CHOICES];
    int n = name_algorithms(g, p, named, p->shape.n <= CUDA_MANY_ROWS ? CHOICES : 1), best = 0;

    for (int i = n - 1; i >= 0 && n > 1; i--) {
        int32_t option = 0;
        size_t written;
        bool known = g->algorithm_get(&named[i], CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, &option, sizeof option, &written) ==
                     CUBLAS_STATUS_SUCCESS;
        best = known && option < COOPERATIVE ? i : best;
    }
    if (n > 0) {
        p->algorithm = named[best];
    }
    return n > 0;
}

static gemm_plan *plan_for(cuda_device *dev, const gemm_shape *shape)
{
    cuda_gemm *g = dev->gemm;

    for (int i = 0; i < SHAPES; i++) {
        if (g->plans[i].known && memcmp(&g->plans[i].shape, shape, sizeof *shape) == 0) {
            return &g->plans[i];
        }
    }
    gemm_plan *p = &g->plans[g->next];
    g->next = (g->next + 1) % SHAPES;
    forget(g, p);
    p->shape = *shape;
    p->known = true;
    p->usable = describe(g, p, type_of(dev)) && choose(g, p);
    return p;
}

/* --- products --- */

static void multiply(cuda_device *dev, const gemm_plan *p, const cublasLtMatmulAlgo_t *algorithm, const void *w, const void *x,
                     float beta, void *y)
{
    float one = 1;
    cublasStatus_t status = dev->gemm->matmul(dev->gemm->handle, p->product, &one, w, p->w, x, p->x, &beta, y, p->y, y, p->y,
                                              algorithm, dev->scratch, WORKSPACE_BYTES, dev->stream);

    if (status != CUBLAS_STATUS_SUCCESS) {
        bool memory = status == CUBLAS_STATUS_ALLOC_FAILED;
        cuda_note(dev, memory ? cudaErrorMemoryAllocation : cudaErrorLaunchFailure, "a matrix product of cublasLt");
    }
}

/* y = w x, or y += w x; without a bias. */
static void product(cuda_device *dev, const void *x, int64_t ldx, int64_t n, const linear_job *job)
{
    const matrix *w = job->w;
    const char *rows = (const char *)w->data + job->row0 * (int64_t)w->row_bytes;
    gemm_shape shape; /* set as bytes: it is compared as bytes */

    memset(&shape, 0, sizeof shape);
    shape.rows = job->rows;
    shape.n = n;
    shape.cols = w->cols;
    shape.ldw = (int64_t)w->row_bytes / 2;
    shape.ldx = ldx;
    shape.ldy = job->ldy;
    shape.out_f32 = job->type == DTYPE_F32;
    shape.align_w = alignment(rows);
    shape.align_x = alignment(x);
    shape.align_y = alignment(job->y);
    const gemm_plan *p = plan_for(dev, &shape);
    if (!p->usable) {
        linear_job plain = *job;
        plain.bias = NULL;
        cuda_note(dev, cuda_linear_plain(dev->stream, dev->base.act, x, ldx, n, &plain), "linear");
        return;
    }
    multiply(dev, p, &p->algorithm, rows, x, job->add ? 1 : 0, job->y);
}

/* With a bias: fp32 sums first, rounded once the bias is in. Results of a 16-bit type take theirs from the working memory, as
   many rows at a time as fit. */
void cuda_gemm_apply(cuda_device *dev, const void *x, int64_t ldx, int64_t n, const linear_job *job)
{
    if (job->rows == 0) {
        return;
    }
    if (!job->bias) {
        product(dev, x, ldx, n, job);
        return;
    }
    const float *bias = job->bias + job->row0;
    if (job->type == DTYPE_F32) {
        product(dev, x, ldx, n, job);
        cuda_note(dev, cuda_add_bias(dev->stream, DTYPE_F32, job->y, job->ldy, job->y, job->ldy, bias, n, job->rows), "linear");
        return;
    }
    float *sums = (float *)dev->scratch + WORKSPACE_BYTES / sizeof *sums;
    int64_t fit = (int64_t)((dev->scratch_bytes - WORKSPACE_BYTES) / sizeof *sums) / job->rows;
    if (fit == 0) { /* more than 8 million rows in one slice */
        cuda_note(dev, cuda_linear_plain(dev->stream, dev->base.act, x, ldx, n, job), "linear");
        return;
    }
    for (int64_t t = 0; t < n; t += fit) {
        int64_t part = n - t < fit ? n - t : fit;
        linear_job raw = {.w = job->w, .row0 = job->row0, .rows = job->rows, .type = DTYPE_F32, .y = sums, .ldy = job->rows};
        product(dev, (const char *)x + 2 * t * ldx, ldx, part, &raw);
        cuda_note(dev,
                  cuda_add_bias(dev->stream, job->type, (char *)job->y + 2 * t * job->ldy, job->ldy, sums, job->rows, bias,
                                part, job->rows),
                  "linear");
    }
}

/* --- one product that is measured --- */

struct cuda_square {
    gemm_plan plan;
    cublasLtMatmulAlgo_t algorithms[CHOICES];
    int n;
};

lariat_status cuda_square_open(cuda_device *dev, int64_t side, cuda_square **out)
{
    cuda_square *s = calloc(1, sizeof *s);

    *out = s;
    TRY_MEMORY(s, "CUDA: card %d (%s): no memory for a product that is measured" FREE_MEMORY, dev->ordinal, dev->name);
    s->plan.shape = (gemm_shape){.rows = side, .n = side, .cols = side, .ldw = side, .ldx = side, .ldy = side,
                                 .align_w = ALIGNMENT_MOST, .align_x = ALIGNMENT_MOST, .align_y = ALIGNMENT_MOST};
    s->n = describe(dev->gemm, &s->plan, type_of(dev)) ? name_algorithms(dev->gemm, &s->plan, s->algorithms, CHOICES) : 0;
    return s->n ? LARIAT_OK
                : fail(LARIAT_FAILED, "CUDA: card %d (%s): cublasLt has no algorithm for a product of matrices of %lld rows: "
                       "install a cuBLAS that knows this card", dev->ordinal, dev->name, (long long)side);
}

int cuda_square_choices(const cuda_square *s)
{
    return s->n;
}

void cuda_square_queue(cuda_device *dev, const cuda_square *s, int choice, const void *w, const void *x, void *y)
{
    multiply(dev, &s->plan, &s->algorithms[choice], w, x, 0, y);
}

void cuda_square_close(cuda_device *dev, cuda_square *s)
{
    if (s) {
        forget(dev->gemm, &s->plan);
        free(s);
    }
}
