// What the attention kernels of CUDA share: which queries see which keys, and a tensor (B, T, heads, D) by heads.
#ifndef OPS_ATTENTION_ATTENTION_CUDA_CUH
#define OPS_ATTENTION_ATTENTION_CUDA_CUH

#include "kit/cuda/flash.cuh"
#include "kit/cuda/tma.cuh"
#include "ops/attention/attention.h"

struct heads_of {
    const void *at;
    int64_t batch, token, head; // strides in elements
    bool wide;                  // every row begins at 16 bytes, in whole chunks of 8 elements
};

static inline heads_of heads_of_tensor(const tensor *t)
{
    const int64_t *stride = t->stride;
    bool wide = t->shape.dim[3] % 8 == 0 && t->byte_offset % 16 == 0;
    for (int i = 0; i < 3; i++) wide &= stride[i] % 8 == 0 || t->shape.dim[i] == 1;
    return {t->data, stride[0], stride[1], stride[2], wide};
}

struct attention_numbers {
    int tokens, heads, kv_heads, group, dim;
    float scale;
    bool causal;
    const int32_t *starts; // (B, T) or NULL
};

static inline attention_numbers attention_numbers_of(const step *s, int q, int starts)
{
    attention_shape a = attention_shape_of(s, q, starts);
    return {(int)a.tokens, (int)a.heads, (int)a.kv_heads, (int)a.group, (int)a.dim, a.scale, a.causal, a.starts};
}

// For the copy engine: boxes of `rows` tokens of a head. False where it cannot.
static inline bool map_heads(CUtensorMap *map, const heads_of &v, const attention_numbers &a, int64_t batches,
                             int heads, bool half, int rows)
{
    box_source s = {v.at, {batches, a.tokens, heads, a.dim}, {v.batch, v.token, v.head}, half};
    return boxes_fit(s) && map_boxes(map, s, rows);
}

template <typename T>
__device__ __forceinline__ rows_in<T> rows_of_head(const heads_of &v, const attention_numbers &a, int batch, int head)
{
    return {(const T *)v.at + batch * v.batch + head * v.head, v.token, a.tokens, a.dim, v.wide};
}

// The place of a token's row in a contiguous (B, T, heads, D).
template <typename T>
__device__ __forceinline__ T *row_of_token(void *all, const attention_numbers &a, int batch, int token, int head,
                                           int heads)
{
    return (T *)all + (((int64_t)batch * a.tokens + token) * heads + head) * a.dim;
}

// The same of a tensor that lies by strides: a part of something longer.
template <typename T> __device__ __forceinline__ T *row_of_token(const heads_of &v, int batch, int token, int head)
{
    return (T *)const_cast<void *>(v.at) + batch * v.batch + token * v.token + head * v.head;
}

// The first key that a query sees.
__device__ __forceinline__ int first_key(const attention_numbers &a, int batch, int query)
{
    if (!a.starts || query >= a.tokens) return 0;
    int start = a.starts[(int64_t)batch * a.tokens + query];
    return start < 0 ? 0 : start < query ? start : query;
}

// Of the queries [first, last): the smallest and the largest first key.
struct key_range {
    int low, high;
};

template <int THREADS>
__device__ __forceinline__ key_range first_keys(const attention_numbers &a, int batch, int first, int last)
{
    if (!a.starts) return {0, 0};
    __shared__ int low, high;
    if (threadIdx.x == 0) low = a.tokens, high = 0;
    __syncthreads();
    for (int i = first + (int)threadIdx.x; i < last && i < a.tokens; i += THREADS) {
        int key = first_key(a, batch, i);
        atomicMin(&low, key);
        atomicMax(&high, key);
    }
    __syncthreads();
    return {low, high};
}

// What the two directions are given.
struct attention_forward {
    heads_of q, k, v;
    void *o;
    float *lse; // (B, H, T) or NULL
    attention_numbers a;
};

static inline attention_forward attention_forward_of(const step *s)
{
    return {heads_of_tensor(&s->in[0]), heads_of_tensor(&s->in[1]),          heads_of_tensor(&s->in[2]),
            s->out[ATTENTION_O].data,   (float *)s->out[ATTENTION_LSE].data, attention_numbers_of(s, 0, 3)};
}

struct attention_backward {
    heads_of dout, q, k, v, o;
    const float *lse; // (B, H, T)
    float *delta;     // (B, H, T): sum(do o) of each query
    heads_of dq, dk, dv;
    attention_numbers a;
};

static inline attention_backward attention_backward_of(const step *s)
{
    heads_of in[5];
    for (int i = 0; i < 5; i++) in[i] = heads_of_tensor(&s->in[i]);
    return {in[0],
            in[1],
            in[2],
            in[3],
            in[4],
            (const float *)s->in[5].data,
            (float *)s->scratch,
            heads_of_tensor(&s->out[ATTENTION_GRAD_DQ]),
            heads_of_tensor(&s->out[ATTENTION_GRAD_DK]),
            heads_of_tensor(&s->out[ATTENTION_GRAD_DV]),
            attention_numbers_of(s, 1, 6)};
}

// For delta.
static inline int64_t attention_backward_scratch(const node *n, const device_caps *)
{
    return shape_count(n->in[5]->shape) * (int64_t)sizeof(float);
}

// Attention by mma (attention_cuda.cu), and whether it takes a node: what others fall back to. And its gradient
// (attention_grad_cuda.cu), and whether it takes a node: what others fall back to.
bool attention_matches(const node *n, const device_caps *caps);
status attention_by_warps(const step *s, queue *q);
bool attention_grad_matches(const node *n, const device_caps *caps);
status attention_grad_by_warps(const step *s, queue *q);

// Whether q (B, T, H, D) fits the tiles and a grid.
static inline bool attention_fits(shape q)
{
    return q.dim[3] <= 128 && q.dim[0] <= 65535 && q.dim[2] <= 65535 && q.dim[1] < 1 << 30;
}

// A block for each BM tokens of each head, with TILES in shared memory.
template <typename TILES, typename K, typename F>
static void launch_tiles(K kernel, const F &f, int threads, int heads, int batch, queue *q)
{
    constexpr int BYTES = (int)sizeof(TILES) + 1024;
    static_assert(BYTES <= 226 * 1024);
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    dim3 grid((unsigned)((f.a.tokens + TILES::BM - 1) / TILES::BM), (unsigned)heads, (unsigned)batch);
    kernel<<<grid, (unsigned)threads, BYTES, q->stream>>>(f);
}

#define ATTENTION_WANTS                                                                                                \
    {                                                                                                                  \
        STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS                                      \
    }
#define ATTENTION_GRAD_WANTS                                                                                           \
    {                                                                                                                  \
        STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS,            \
            STORAGE_LAST_CONTIGUOUS                                                                                    \
    }

#endif
