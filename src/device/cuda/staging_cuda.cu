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

/* One block: behind it both counters are one further. */
static __global__ void leave(const staged in, const staged out)
{
    wait_for_inputs();
    int *to = (int *)(out.host + *out.counter * out.stride);
    const int *from = (const int *)out.memory;
    for (int64_t i = threadIdx.x; i < out.pieces; i += blockDim.x) to[i] = from[i];
    __syncthreads();
    if (threadIdx.x) return;
    *in.counter = (*in.counter + 1) % in.slots;
    *out.counter = (*out.counter + 1) % out.slots;
    __threadfence_system();
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
    leave<<<1, 32, 0, q->stream>>>(*staging_places(pair[0]), *staging_places(pair[1]));
    return INGOT_OK;
}

const kernel_def staging_arrive = {.name = "arrive", .traits = KERNEL_WAITS, .launch = launch_arrive};
const kernel_def staging_leave = {.name = "leave", .traits = KERNEL_WAITS, .launch = launch_leave};
