/* The first and the last kernel of a step: its batch arrives, its result leaves. */
#include "device/cuda/staging.h"
#include "kit/cuda/cuda.h"

static __global__ void arrive(const staged s)
{
    wait_for_inputs();
    int *to = (int *)s.memory;
    const int *from = (const int *)(s.beside + *s.counter * s.stride);
    for (CUDA_EACH(i, s.pieces)) to[i] = from[i];
}

/* Both counters are one further when the last block has written its part. */
static __global__ void leave(const staged in, const staged out)
{
    wait_for_inputs();
    int *to = (int *)(out.host + *out.counter * out.stride);
    const int *from = (const int *)out.memory;
    for (CUDA_EACH(i, out.pieces)) to[i] = from[i];
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x || atomicAdd(out.counter + 1, 1) != (int)gridDim.x - 1) return;
    out.counter[1] = 0;
    *in.counter = (*in.counter + 1) % in.slots;
    *out.counter = (*out.counter + 1) % out.slots;
}

static status launch_arrive(const step *s, queue *q)
{
    const staged *in = staging_places(s->prepared);
    arrive<<<cuda_blocks(in->pieces), CUDA_THREADS, 0, q->stream>>>(*in);
    return INGOT_OK;
}

static status launch_leave(const step *s, queue *q)
{
    void *const *pair = (void *const *)s->prepared; /* staging_pair */
    const staged *in = staging_places(pair[0]), *out = staging_places(pair[1]);
    unsigned threads = out->pieces < CUDA_THREADS ? 32 : CUDA_THREADS, blocks = cuda_blocks(out->pieces);
    leave<<<blocks < 128 ? blocks : 128, threads, 0, q->stream>>>(*in, *out);
    return INGOT_OK;
}

const kernel_def staging_arrive = {.name = "arrive", .traits = KERNEL_WAITS, .launch = launch_arrive};
const kernel_def staging_leave = {.name = "leave", .traits = KERNEL_WAITS, .launch = launch_leave};
