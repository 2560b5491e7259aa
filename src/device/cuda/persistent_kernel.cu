// The persistent launch: every block walks the intervals; what it needs of others it takes when it gets there.
//
// The list of intervals is fetched one interval ahead and weights several tiles ahead, so what is left on the way from one
// interval to the next is to read a few kilobytes that others have just written.
#include "device/cuda/persistent.h"

#include "kit/cuda/stage.cuh"
#include "ops/attention_rows/attention_rows_stage_cuda.cuh"
#include "ops/gather/gather_stage_cuda.cuh"
#include "ops/matmul/products_stage_cuda.cuh"
#include "ops/pointwise/pointwise_stage_cuda.cuh"
#include "ops/rms_norm/rms_norm_stage_cuda.cuh"
#include "ops/rope/rope_stage_cuda.cuh"

enum { INTERVAL_PACKS = sizeof(stage_interval) / 16 };

static_assert(sizeof(stage_interval) % 16 == 0 && (int)INTERVAL_PACKS <= (int)STAGE_THREADS,
              "a thread fetches one pack");

template <typename T> __device__ __forceinline__ void run_stage(const stage &s, stage_block &b)
{
    switch (s.kind) {
#define STAGE(kind, function)                                                                                          \
    case STAGE_##kind:                                                                                                 \
        stage_##function<T>(s, b);                                                                                     \
        break;
#include "kit/cuda/stages.def"
#undef STAGE
    default: break;
    }
}

// What lies in memory since before the launch: asked for while the interval waits for other blocks.
template <typename T> __device__ __forceinline__ void fetch_stage(const stage &s, const stage_block &b, int thread)
{
    switch (s.kind) {
    case STAGE_RMS_NORM: stage_rms_norm_ahead<T>(s, b, thread); break;
    case STAGE_ROPE: stage_rope_ahead<T>(s, b, thread); break;
    case STAGE_ATTEND: stage_attend_ahead<T>(s, b, thread); break;
    default: break;
    }
}

template <typename T> __device__ __forceinline__ void fetch_interval(const stage_interval &soon, const stage_block &b)
{
#pragma unroll 1
    for (int k = 0; k < STAGES_TOGETHER && soon.stages[k].kind; k++) fetch_stage<T>(soon.stages[k], b, b.lane);
}

__device__ __forceinline__ stage_interval *interval_at(const stage_block &b, int i)
{
    return (stage_interval *)(b.memory + STAGE_AT_INTERVALS) + i % 2;
}

// Thread 0 speaks for its block: what the others wrote before the block's barrier is released with its arrival.
__device__ __forceinline__ void wait_for_all(unsigned *barrier, unsigned meetings)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        red_release_add(barrier, 1);
        while (load_acquire(barrier) < meetings * gridDim.x)
            ;
    }
    __syncthreads();
}

template <typename T> __device__ __forceinline__ void take_in(char *to, const T *from, int count)
{
    for (int i = threadIdx.x; i < count; i += STAGE_THREADS) ((T *)to)[i] = from[i];
}

__device__ __forceinline__ void take_lists(const stage_launch &l, const stage_block &b)
{
    char *memory = b.memory;
    for (int i = threadIdx.x; i < l.weight_count; i += STAGE_THREADS)
        ((stage_slice *)(memory + STAGE_AT_ROWS))[i] = slice_of(b, l.weights[i].rows);
    take_in(memory + STAGE_AT_LIST, l.weights, l.weight_count);
    take_in(memory + STAGE_AT_CODE, l.code, l.code_count);
    take_in(memory + STAGE_AT_INTERVALS, (const uint4 *)l.intervals, INTERVAL_PACKS);
    for (int i = (int)threadIdx.x / 32; i < l.constant_count; i += STAGE_WARPS) {
        stage_constant c = l.constants[i];
        for (uint32_t k = threadIdx.x % 32; k < c.bytes / 4; k += 32)
            ((uint32_t *)(memory + c.to))[k] = ((const uint32_t *)c.from)[k];
    }
    __syncthreads();
}

template <typename T> __device__ __forceinline__ void run_interval(const stage_interval &now, stage_block &b)
{
#pragma unroll 1
    for (int i = 0; i < STAGES_TOGETHER && now.stages[i].kind; i++) {
        if (now.stages[i].sync) __syncthreads();
        run_stage<T>(now.stages[i], b);
    }
}

template <typename T> __global__ void __launch_bounds__(STAGE_THREADS, 1) walk_intervals(stage_launch l)
{
    extern __shared__ __align__(128) char memory[];
    stage_block b;
    b.memory = memory, b.block = (int)blockIdx.x, b.blocks = (int)gridDim.x;
    b.warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), b.lane = (int)threadIdx.x % 32;
    b.part = 0xffffffffu / gridDim.x;
    b.turn = b.oldest = b.matrix = 0;
    b.tag = l.barrier[2] % 65535 + 1;
    b.tagged = l.tagged;
    take_lists(l, b);
    feed_begin(b, l);
    unsigned meetings = 0;
    for (int i = 0; i < l.interval_count; i++) {
        bool fetches = i + 1 < l.interval_count && threadIdx.x < INTERVAL_PACKS;
        const stage_interval &now = *interval_at(b, i);
        uint4 next = {};
        if (fetches) next = __ldg((const uint4 *)(l.intervals + i + 1) + threadIdx.x);
        if (b.warp == STAGE_WARPS - 1) fetch_interval<T>(now, b);
        if (now.barrier) wait_for_all(l.barrier, ++meetings);
        run_interval<T>(now, b);
        if (fetches) ((uint4 *)interval_at(b, i + 1))[threadIdx.x] = next;
        __syncthreads();
    }
    // The last block to leave makes the counters ready for the next launch.
    if (threadIdx.x == 0 && atomicAdd(l.barrier + 1, 1) == gridDim.x - 1) {
        l.barrier[0] = l.barrier[1] = 0;
        l.barrier[2]++;
    }
}

static void (*kernel_of(int dtype))(stage_launch)
{
    return dtype == INGOT_BF16  ? walk_intervals<bf16>
           : dtype == INGOT_F16 ? walk_intervals<f16>
                                : walk_intervals<float>;
}

extern "C" cudaError_t persistent_room(int dtype, int *blocks)
{
    auto kernel = kernel_of(dtype);
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, STAGE_MEMORY);
    *blocks = 0;
    if (!error) error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, kernel, STAGE_THREADS, STAGE_MEMORY);
    return error;
}

extern "C" cudaError_t persistent_start(const stage_launch *l, int blocks, cudaStream_t stream)
{
    cudaLaunchAttribute together = {};
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
    cudaLaunchConfig_t how = {};
    how.gridDim = dim3((unsigned)blocks), how.blockDim = dim3(STAGE_THREADS);
    how.dynamicSmemBytes = STAGE_MEMORY;
    how.stream = stream;
    how.attrs = &together, how.numAttrs = 1;
    return cudaLaunchKernelEx(&how, kernel_of(l->dtype), *l);
}
