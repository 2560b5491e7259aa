// AdamW on CUDA: one launch for a flat group, 16 bytes of each of its four tensors a thread.
#include "kit/cuda/values.cuh"
#include "ops/adamw/adamw.h"

#include <math.h>

struct adamw_numbers {
    float log_beta1, log_beta2; // 0 where beta is 0
    float beta2, rest1, rest2;  // 1 - beta1, 1 - beta2
    float eps, weight_decay;
    bool decoupled;
};

struct adamw_tensors {
    const float *w, *g, *m, *v, *lr, *scale, *step, *apply;
    float *new_w, *new_m, *new_v;
    void *low;  // new_w in 16 bits, or NULL
    bool rests; // w, m and v are as no launch before leaves them otherwise
};

// 1 - beta^t without losing what is left of it in the first steps.
__device__ __forceinline__ float correction(float log_beta, float t)
{
    return log_beta == 0 ? 1 : -expm1f(t * log_beta);
}

// What is updated, and nothing before writes: read while the numbers of the step are still made.
template <int N> struct adamw_pack {
    pack<float, N> w, m, v;

    __device__ __forceinline__ void load(const adamw_tensors &t, int64_t i, int64_t packs)
    {
        if (i >= packs) return;
        w = load_pack<N>(t.w + i * N), m = load_pack<N>(t.m + i * N), v = load_pack<N>(t.v + i * N);
    }
};

template <int N, typename L>
__global__ void __launch_bounds__(CUDA_THREADS, 8) adamw_update(adamw_tensors t, adamw_numbers u, int64_t packs)
{
    int64_t i = blockIdx.x * (int64_t)CUDA_THREADS + threadIdx.x, stride = gridDim.x * (int64_t)CUDA_THREADS;
    adamw_pack<N> p;
    launch_next();
    if (t.rests) p.load(t, i, packs);
    wait_for_writers();
    if (!t.rests) p.load(t, i, packs);
    float lr = *t.lr, scale = *t.scale, time = *t.step;
    bool apply = *t.apply != 0;
    float rate = lr / correction(u.log_beta1, time), root = rsqrtf(correction(u.log_beta2, time));
    float decay = u.decoupled ? 1 - lr * u.weight_decay : 1, l2 = u.decoupled ? 0 : u.weight_decay;
    for (; i < packs; i += stride, p.load(t, i, packs)) {
        pack<float, N> g = load_pack<N>(t.g + i * N);
#pragma unroll
        for (int k = 0; k < N; k++) {
            if (!apply) continue; // not even as NaN
            float grad = g.at[k] * scale + p.w.at[k] * l2;
            p.m.at[k] += (grad - p.m.at[k]) * u.rest1;
            p.v.at[k] = p.v.at[k] * u.beta2 + grad * grad * u.rest2;
            p.w.at[k] = p.w.at[k] * decay - rate * p.m.at[k] / (sqrtf(p.v.at[k]) * root + u.eps);
        }
        store_pack<N>(t.new_w + i * N, p.w);
        store_pack<N>(t.new_m + i * N, p.m);
        store_pack<N>(t.new_v + i * N, p.v);
        if (!t.low) continue;
        pack<L, N> low;
#pragma unroll
        for (int k = 0; k < N; k++) low.at[k] = to<L>(p.w.at[k]);
        store_pack<N>((L *)t.low + i * N, low);
    }
}

static float log_of(double beta)
{
    return beta > 0 ? (float)log(beta) : 0;
}

static status launch(const step *s, queue *q)
{
    const adamw_attrs *a = ATTRS_OF(adamw_attrs, s->node);
    adamw_numbers u = {log_of(a->beta1),      log_of(a->beta2), (float)a->beta2,        (float)(1 - a->beta1),
                       (float)(1 - a->beta2), (float)a->eps,    (float)a->weight_decay, a->decoupled != 0};
    const float *in[8];
    for (int i = 0; i < 8; i++) in[i] = (const float *)s->in[i].data;
    const unsigned updated = 1 << 0 | 1 << 2 | 1 << 3;
    adamw_tensors t = {in[0],
                       in[1],
                       in[2],
                       in[3],
                       in[4],
                       in[5],
                       in[6],
                       in[7],
                       (float *)s->out[0].data,
                       (float *)s->out[1].data,
                       (float *)s->out[2].data,
                       s->out[3].data,
                       (s->resting & updated) == updated};
    int64_t n = shape_count(s->out[0].shape);
    bool half = s->out[3].dtype == INGOT_F16;
    auto update = n % 4 ? (half ? adamw_update<1, f16> : adamw_update<1, bf16>)
                        : (half ? adamw_update<4, f16> : adamw_update<4, bf16>);
    int64_t packs = n % 4 ? n : n / 4;
    update<<<cuda_blocks(packs), CUDA_THREADS, 0, q->stream>>>(t, u, packs);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    return adamw_match(n, caps) && n->in[6]->dtype == INGOT_F32;
}

extern "C" const kernel_def adamw_cuda[] = {
    {.op = &op_adamw_def,
     .name = "adamw.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .launch = launch,
     .error = ERROR_POINTWISE},
    {},
};
