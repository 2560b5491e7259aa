// The persistent launch: every block walks the intervals, with a barrier of the grid between two of them.
//
//     stages of interval i | arrive | ask for what interval i + 1 reads, but waits for nobody | wait | stages of i + 1
//
// The list of intervals is fetched one interval ahead and weights several tiles ahead, so what is left on the way from one
// barrier to the next is to read a few kilobytes that others have just written.
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

__device__ __forceinline__ void run_stage(const stage &s, stage_block &b)
{
    switch (s.kind) {
#define STAGE(kind, function)                                                                                          \
    case STAGE_##kind:                                                                                                 \
        stage_##function(s, b);                                                                                        \
        break;
#include "kit/cuda/stages.def"
#undef STAGE
    default: break;
    }
}

// What lies in memory since before the launch and is read right after the barrier.
__device__ __forceinline__ void fetch_stage(const stage &s, const stage_block &b, int thread)
{
    switch (s.kind) {
    case STAGE_RMS_NORM: stage_rms_norm_ahead(s, b, thread); break;
    case STAGE_ROPE: stage_rope_ahead(s, b, thread); break;
    case STAGE_ATTEND: stage_attend_ahead(s, b, thread); break;
    default: break;
    }
}

__device__ __forceinline__ stage_interval *interval_at(const stage_block &b, int i)
{
    return (stage_interval *)(b.memory + STAGE_AT_INTERVALS) + i % 2;
}

// Thread 0 speaks for its block: what the others wrote before the block's barrier is released with its arrival.
__device__ __forceinline__ void arrive(unsigned *barrier)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(barrier) : "memory");
}

__device__ __forceinline__ void wait_until(const unsigned *barrier, unsigned count)
{
    unsigned arrived;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(barrier) : "memory");
    while (arrived < count);
}

template <typename T> __device__ __forceinline__ void take_in(char *to, const T *from, int count)
{
    for (int i = threadIdx.x; i < count; i += STAGE_THREADS) ((T *)to)[i] = from[i];
}

__device__ __forceinline__ void take_lists(const stage_launch &l, char *memory)
{
    take_in(memory + STAGE_AT_LIST, l.weights, l.weight_count);
    take_in(memory + STAGE_AT_CODE, l.code, l.code_count);
    take_in(memory + STAGE_AT_INTERVALS, (const uint4 *)l.intervals, INTERVAL_PACKS);
    for (int i = 0; i < l.constant_count; i++)
        take_in(memory + l.constants[i].to, (const uint32_t *)l.constants[i].from, (int)l.constants[i].bytes / 4);
    __syncthreads();
}

__device__ __forceinline__ void run_interval(const stage_interval &now, stage_block &b)
{
    for (int i = 0; i < STAGES_TOGETHER && now.stages[i].kind; i++) {
        if (now.stages[i].sync) __syncthreads();
        run_stage(now.stages[i], b);
    }
}

__global__ void __launch_bounds__(STAGE_THREADS, 1) walk_intervals(stage_launch l)
{
    extern __shared__ __align__(128) char memory[];
    stage_block b;
    b.memory = memory, b.block = (int)blockIdx.x, b.blocks = (int)gridDim.x;
    b.warp = (int)threadIdx.x / 32, b.lane = (int)threadIdx.x % 32;
    b.part = 0xffffffffu / gridDim.x;
    b.turn = b.oldest = 0;
    take_lists(l, memory);
    feed_begin(b, l);
    for (int i = 0; i < l.interval_count; i++) {
        bool fetches = i + 1 < l.interval_count && threadIdx.x < INTERVAL_PACKS;
        uint4 next = {};
        if (fetches) next = __ldg((const uint4 *)(l.intervals + i + 1) + threadIdx.x);
        run_interval(*interval_at(b, i), b);
        if (fetches) ((uint4 *)interval_at(b, i + 1))[threadIdx.x] = next;
        __syncthreads();
        if (i + 1 == l.interval_count) break;
        if (threadIdx.x == 0) {
            arrive(l.barrier);
            wait_until(l.barrier, (unsigned)(i + 1) * gridDim.x);
        } else if (threadIdx.x >= 32) {
            const stage_interval *soon = interval_at(b, i + 1);
            for (int k = 0; k < STAGES_TOGETHER && soon->stages[k].kind; k++)
                fetch_stage(soon->stages[k], b, (int)threadIdx.x - 32);
        }
        __syncthreads();
    }
    // The last block to leave makes the counters ready for the next launch.
    if (threadIdx.x == 0 && atomicAdd(l.barrier + 1, 1) == gridDim.x - 1) l.barrier[0] = l.barrier[1] = 0;
}

extern "C" cudaError_t persistent_room(int *blocks)
{
    cudaError_t error = cudaFuncSetAttribute(walk_intervals, cudaFuncAttributeMaxDynamicSharedMemorySize, STAGE_MEMORY);
    *blocks = 0;
    if (!error)
        error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, walk_intervals, STAGE_THREADS, STAGE_MEMORY);
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
    return cudaLaunchKernelEx(&how, walk_intervals, *l);
}
