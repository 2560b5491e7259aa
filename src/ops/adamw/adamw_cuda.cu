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
    void *low; // new_w in 16 bits, or NULL
};

// 1 - beta^t without losing what is left of it in the first steps.
__device__ __forceinline__ float correction(float log_beta, float t)
{
    return log_beta == 0 ? 1 : -expm1f(t * log_beta);
}

template <int N, typename L> __global__ void adamw_update(adamw_tensors t, adamw_numbers u, int64_t packs)
{
    wait_for_inputs();
    float lr = *t.lr, scale = *t.scale, time = *t.step;
    bool apply = *t.apply != 0;
    float rate = lr / correction(u.log_beta1, time), root = rsqrtf(correction(u.log_beta2, time));
    float decay = u.decoupled ? 1 - lr * u.weight_decay : 1, l2 = u.decoupled ? 0 : u.weight_decay;
    for (CUDA_EACH(i, packs)) {
        pack<float, N> w = load_pack<N>(t.w + i * N), m = load_pack<N>(t.m + i * N), v = load_pack<N>(t.v + i * N);
        pack<float, N> g = load_pack<N>(t.g + i * N);
#pragma unroll
        for (int k = 0; k < N; k++) {
            if (!apply) continue; // not even as NaN
            float grad = g.at[k] * scale + w.at[k] * l2;
            m.at[k] += (grad - m.at[k]) * u.rest1;
            v.at[k] = v.at[k] * u.beta2 + grad * grad * u.rest2;
            w.at[k] = w.at[k] * decay - rate * m.at[k] / (sqrtf(v.at[k]) * root + u.eps);
        }
        store_pack<N>(t.new_w + i * N, w);
        store_pack<N>(t.new_m + i * N, m);
        store_pack<N>(t.new_v + i * N, v);
        if (!t.low) continue;
        pack<L, N> low;
#pragma unroll
        for (int k = 0; k < N; k++) low.at[k] = to<L>(w.at[k]);
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
                       s->out[3].data};
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
