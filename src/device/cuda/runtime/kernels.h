/* The launches of all kernels, as C functions: queued on the stream that is given; they return the status of the launch. Rests
   on cuda_device.h. device.h describes the ops; the headings name the .cu files that have the kernels.

   Every file has a function ..._load: it brings the file's kernels onto the card, so that no launch loads code later, beside a
   grid that waits. Those of cuda_ceilings.cu run where nothing else does, and are loaded then. Types: `act` is F32, F16 or
   BF16. Lists of the host, but for attention's, are passed by value, in as many launches as they need. */
#pragma once

#include "device/cuda/runtime/cuda_device.h"
#include "device/cuda/runtime/packets.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- elementwise.cu --- */

cudaError_t cuda_elementwise_load(void);
cudaError_t cuda_embed(cudaStream_t stream, float *x, const matrix *table, const int32_t *tokens, const int32_t *chosen,
                       int64_t n, float scale);
cudaError_t cuda_rms_norm(cudaStream_t stream, dtype act, void *out, const float *x, const float *weight, float eps, int64_t n,
                          int64_t d);
cudaError_t cuda_rms_norm_add(cudaStream_t stream, dtype act, float *x, const void *y, const float *weight, float eps,
                              int64_t n, int64_t d);
cudaError_t cuda_narrow(cudaStream_t stream, dtype act, void *out, const float *x, int64_t count);
cudaError_t cuda_rope_angles(cudaStream_t stream, float *cos, float *sin, const int64_t *positions, int64_t n,
                             const float *inv_freq, int64_t half, float factor);
cudaError_t cuda_rope(cudaStream_t stream, dtype act, const rotation *rows, int64_t n, int32_t head_dim);
cudaError_t cuda_kv_store(cudaStream_t stream, dtype act, void *cache, float *scales, dtype type, int64_t head_stride,
                          const int64_t *slots, const void *x, int64_t ldx, int64_t n, int32_t heads, int32_t head_dim);
cudaError_t cuda_rope_store(cudaStream_t stream, dtype act, const rotation *rows, void *const side[2], float *const scales[2],
                            dtype type, int64_t head_stride, const int64_t *slots, int64_t n, int32_t head_dim);
/* y = silu(g) * u; y may be g. */
cudaError_t cuda_silu_mul(cudaStream_t stream, dtype act, void *y, int64_t ldy, const void *g, int64_t ldg, const void *u,
                          int64_t ldu, int64_t n, int64_t d);
cudaError_t cuda_gelu_mul(cudaStream_t stream, dtype act, void *g, int64_t ldg, const void *u, int64_t ldu, int64_t n,
                          int64_t d);
cudaError_t cuda_copy(cudaStream_t stream, dtype type, void *y, int64_t ldy, const void *x, int64_t ldx, int64_t n,
                      int64_t width, bool add);
cudaError_t cuda_carry_clear(cudaStream_t stream, const carry *c, const attention_shape *s, int64_t rows);
cudaError_t cuda_carry_merge(cudaStream_t stream, const carry *into, const carry *from, const attention_shape *s, int64_t rows);
cudaError_t cuda_carry_finish(cudaStream_t stream, dtype act, const carry *c, const attention_shape *s, int64_t rows, void *out,
                              int64_t ldo);
/* y[t, r] = sums[t, r] + bias[r], rounded to `type`; sums [n, rows] dense, which may be y itself where y is F32 and ldy =
   rows. */
cudaError_t cuda_add_bias(cudaStream_t stream, dtype type, void *y, int64_t ldy, const float *sums, int64_t ld_sums,
                          const float *bias, int64_t n, int64_t rows);

/* --- few_rows.cu --- */

/* so many rows of x are one tile of the tensor cores: the matrix is read once, at the rate of memory */
enum { CUDA_SMALL_ROWS = 16 };

cudaError_t cuda_linear_load(void);
/* 1 to CUDA_SMALL_ROWS rows of a 16-bit type, on tensor cores. Only where cuda_linear_small_can says so. norm: of x, where n
   is 1, or NULL. */
bool cuda_linear_small_can(dtype act, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs);
cudaError_t cuda_linear_small(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n, const linear_job jobs[],
                              int n_jobs, const cuda_norm_input *norm);
/* silu(gate) * up of two jobs of one shape, as silu_mul of their results, to the bit; where gate's would be. */
cudaError_t cuda_linear_small_gated(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n,
                                    const linear_job *gate, const linear_job *up, const cuda_norm_input *norm);
/* Queries, keys and values of one product, rotated and stored, as rope_store of their results, to the bit; only where
   cuda_linear_small_rotates says that these jobs are those heads. */
bool cuda_linear_small_rotates(const rotation *rows, dtype act, int32_t head_dim, const linear_job jobs[]);
cudaError_t cuda_linear_small_rotated(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n,
                                      const linear_job jobs[], const cuda_norm_input *norm, const rotation *rows, void *k,
                                      void *v, dtype type, int64_t head_stride, const int64_t *slots, int32_t head_dim,
                                      const packet_links *links);
/* links->n not 0: the ranks of a ring have a part each and exchange them. Only where this says that all blocks of each are on
   the card at once, and that each has one. */
bool cuda_linear_small_exchanges(int n_sms, int n_ranks, const linear_job jobs[]);
/* A product that exchanges its results, a rank's part of sums, by blocks that wait for those of the other ranks: only where all
   of them are on the card at once. */
bool cuda_linear_small_resident(int n_sms, int64_t rows);
cudaError_t cuda_linear_small_exchanged(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n,
                                        const linear_job *job, const packet_sums *sums);
/* Any type, shape and alignment, by fused multiply-adds of fp32. */
cudaError_t cuda_linear_plain(cudaStream_t stream, dtype act, const void *x, int64_t ldx, int64_t n, const linear_job *job);

/* --- many_rows.cu: blocks on Hopper, more rows of x of a 16-bit type than CUDA_SMALL_ROWS --- */

enum { CUDA_MANY_ROWS = 128 };

cudaError_t cuda_many_load(void);
/* Matrices of one type of blocks on the same x. Only where cuda_many_can says so. gated: of two jobs of one
   shape, as cuda_linear_small_gated. */
bool cuda_many_can(const cuda_device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs);
cudaError_t cuda_many(const cuda_device *dev, const void *x, int64_t ldx, int64_t n, const linear_job jobs[], int n_jobs,
                      bool gated);

/* --- blocks.cu, block_rows.cu, block_order.cu: weights that stay stored blocks. blocks.cuh has their order --- */

/* So many rows of x, CUDA_SMALL_ROWS at a time, are faster than plain weights made from blocks for the purpose. */
enum { CUDA_BLOCK_ROWS = 64 };

cudaError_t cuda_blocks_load(void);
/* Jobs whose matrices have one type of blocks and one width. Only where cuda_blocks_can says so. norm: of x, where n is 1 and x
   of 16 bits, or NULL. */
bool cuda_blocks_can(dtype act, const void *x, int64_t ldx, int64_t n);
cudaError_t cuda_blocks(cudaStream_t stream, int n_sms, dtype act, const void *x, int64_t ldx, int64_t n,
                        const linear_job jobs[], int n_jobs, const cuda_norm_input *norm);
/* One row of x, whole tiles: as cuda_linear_small_exchanged. Only where cuda_blocks_exchange says so. */
bool cuda_blocks_exchange(dtype act, int64_t n, const linear_job *job);
cudaError_t cuda_blocks_exchanged(cudaStream_t stream, int n_sms, dtype act, const void *x, const linear_job *job,
                                  const packet_sums *sums);
cudaError_t cuda_block_rows_load(void);
/* Rows [row0, row0 + rows) of a matrix of blocks as plain rows of the activation type, dense. */
cudaError_t cuda_block_rows(cudaStream_t stream, dtype act, const matrix *w, int64_t row0, int64_t rows, void *to);
/* The op embed for a table of blocks. */
cudaError_t cuda_block_embed(cudaStream_t stream, float *x, const matrix *table, const int32_t *tokens, const int32_t *chosen,
                             int64_t n, float scale);
cudaError_t cuda_block_order_load(void);
/* Puts stored rows [row0, row0 + rows), already on the card, in the order of the planes; row0 is a multiple of CUDA_BLOCK_TILE,
   rows as well unless they are the matrix's last. */
enum { CUDA_BLOCK_TILE = 16 };
cudaError_t cuda_block_order(cudaStream_t stream, const matrix *to, int64_t row0, int64_t rows, const void *from);
/* The same rows of a random model, as stored blocks, as model/random.c makes them. */
cudaError_t cuda_random_blocks(cudaStream_t stream, const matrix *w, int64_t row0, int64_t rows, uint64_t seed, void *to);

/* --- convert.cu, random.cu --- */

cudaError_t cuda_convert_load(void);
/* Rows of a plain type, already on the card, `from_bytes` apart, as rows of `to` from `row0` on. */
cudaError_t cuda_convert(cudaStream_t stream, const matrix *to, int64_t row0, int64_t rows, dtype type, const void *from,
                         size_t from_bytes);
cudaError_t cuda_random_load(void);
/* The elements that model/random.c makes for a matrix of plain type `type`, converted to the type of `to`. */
cudaError_t cuda_random(cudaStream_t stream, const matrix *to, dtype type, uint64_t seed);

/* --- sample.cu --- */

cudaError_t cuda_sample_load(void);
cudaError_t cuda_sample(cudaStream_t stream, int32_t *tokens, const float *logits, int64_t ld, int64_t n, int64_t vocab,
                        const sample_setting *settings);

/* --- cuda_ceilings.cu: bursts of work to be measured --- */

/* Fused multiply-adds of fp32 on all lanes of so many multiprocessors, about a millisecond of them; and how many operations
   that is. `keep` is a word of the card's memory. */
cudaError_t cuda_fma_burst(cudaStream_t stream, int n_sms, void *keep);
double cuda_fma_burst_operations(int n_sms);
/* Reads `bytes` once: a multiple of cuda_read_turn_bytes, the bytes that all blocks of the grid read in a turn. */
cudaError_t cuda_read_all(cudaStream_t stream, int n_sms, const void *data, size_t bytes, void *keep);
size_t cuda_read_turn_bytes(int n_sms);

/* --- attention*.cu --- */

/* The op itself: chooses the kernel by shape and type, keeps its failure in the device. */
void cuda_attention(cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq, const attention_item items[],
                    int n_items, const carry *c, const attention_ends *ends);
/* The op attention_exchanged. */
bool cuda_attention_exchanged(cuda_device *dev, const attention_shape *s, const void *q, int64_t ldq,
                              const attention_item items[], int n_items, const carry *c, const packet_carries *exchange);

#ifdef __cplusplus
}
#endif
