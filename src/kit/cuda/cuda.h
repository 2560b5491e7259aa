/* What CUDA kernels share: the device they run on, the stream they are launched into, and the launch itself.
 *
 *     __global__ void scale(float *y, const float *x, int64_t n) { for (CUDA_EACH(i, n)) y[i] = 2 * x[i]; }
 *     static status launch(const step *s, queue *q)
 *     {
 *         scale<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>(...);
 *         return INGOT_OK;                              // the device asks for errors after the step
 *     }
 */
#ifndef KIT_CUDA_CUDA_H
#define KIT_CUDA_CUDA_H

#include "graph/strided.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

#ifdef __CUDACC__
#include "kit/cuda/ptx.cuh"
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct nvrtc_cache; /* kit/cuda/nvrtc.h */
struct faults;      /* kit/cuda/faults.h */

struct device_caps {
    int ordinal, multiprocessors, major, minor;
    int64_t memory_bytes, l2_bytes;
    char name[256];
    bool overlap;   /* sm_90 on, if not told not to: kernels that wait are launched before their inputs are there */
    int persistent; /* runs of at least so many small steps are one launch; 0: none */
    bool tf32;      /* asked for: float32 products may be of 10-bit mantissas */
    cublasLtHandle_t blas;
    struct nvrtc_cache *compiled;
    struct faults *faults;
};

struct queue {
    cudaStream_t stream;
    const struct device_caps *caps;
    struct graph_builder *capture; /* while a graph is made of the launches */
};

/* After the launches of a step that make its first output and are done with its inputs, where others follow that read only
 * its scratch: who wants nothing else of the step need not wait for those. */
void queue_first_output_made(const struct queue *q);
/* The same of its first outputs; what follows may read its inputs too. */
void queue_first_outputs_made(const struct queue *q, int outputs);
/* First in a launch: until queue_ahead_done, what is launched reads only the inputs of these bits and writes only scratch. In a
 * graph it begins as soon as they are there. */
void queue_ahead(const struct queue *q, unsigned inputs);
void queue_ahead_done(const struct queue *q);

enum { CUDA_THREADS = 256 };

/* Enough blocks of CUDA_THREADS for n elements, one each, up to what keeps a large GPU busy: loops stride over the rest. */
static inline unsigned cuda_blocks(int64_t n)
{
    int64_t blocks = (n + CUDA_THREADS - 1) / CUDA_THREADS;
    return (unsigned)(blocks < 1 ? 1 : blocks > 16384 ? 16384 : blocks);
}

#define CUDA_EACH(i, n)                                                                                                \
    int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;                                                        \
    i < (n);                                                                                                           \
    i += gridDim.x * (int64_t)blockDim.x

#ifdef __CUDACC__
/* First in kernels of KERNEL_WAITS: the next one may be launched, and what this one reads is there from here on. Kernels that
 * read in between what no step of their work writes (step.resting) call the halves apart. All threads must come to the
 * second one, whatever they find to do: who waits for this kernel relies on it to have waited for those before it. */
static __device__ __forceinline__ void wait_for_inputs(void)
{
    launch_next();
    wait_for_writers();
}
#endif

/* INGOT_ERROR_DEVICE with CUDA's words; INGOT_OK for cudaSuccess. */
status cuda_check(context *ctx, cudaError_t error, const char *doing);

#ifdef __cplusplus
}
#endif
#endif
