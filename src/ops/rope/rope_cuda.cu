// Rotary positions on CUDA: a thread turns one pack of pairs, so that y may lie over x. x may be a slice of rows that are
// longer: queries and keys of one product.
#include "kit/cuda/stage.h"
#include "kit/cuda/values.cuh"
#include "ops/rope/rope.h"
#include "ops/rope/rope_stage_cuda.h"

struct rope_strides {
    int64_t head, row, outer; // elements
};

struct rope_numbers {
    int64_t items; // rows * heads * (packs of pairs + packs that stay)
    int heads, dim, turned, positions, inverse;
    int inner; // rows that lie `row` apart; then `outer`
    rope_strides x, y;
};

static __device__ __forceinline__ int64_t head_at(const rope_strides &s, int64_t row, int64_t head, int inner)
{
    return head * s.head + row % inner * s.row + row / inner * s.outer;
}

template <typename T, int N, bool INTERLEAVED>
__global__ void rope_turn(T *y, const T *x, const int32_t *position, weights table, rope_numbers r)
{
    wait_for_inputs();
    int pairs = r.turned / 2, packs = pairs / N, each = packs + (r.dim - r.turned) / N;
    for (CUDA_EACH(i, r.items)) {
        int64_t head = i / each;
        int item = (int)(i - head * each);
        int64_t row = head / r.heads;
        const T *from = x + head_at(r.x, row, head - row * r.heads, r.inner);
        T *to_y = y + head_at(r.y, row, head - row * r.heads, r.inner);
        if (item >= packs) {
            int at = r.turned + (item - packs) * N;
            store_pack<N>(to_y + at, load_pack<N>(from + at));
            continue;
        }
        int32_t where = position[row];
        float c[N] = {}, s[N] = {};
        if (where >= 0 && where < r.positions) {
            load_weights<T>(c, table, (int64_t)where * r.turned + item * N);
            load_weights<T>(s, table, (int64_t)where * r.turned + pairs + item * N);
        }
        int one = INTERLEAVED ? 2 * item : item * N, other = INTERLEAVED ? one + 1 : one + pairs;
        pack<T, N> a = load_pack<N>(from + one), b = load_pack<N>(from + other);
#pragma unroll
        for (int k = 0; k < N; k++) {
            float u = to_float(a.at[k]), v = to_float(b.at[k]), sine = r.inverse ? -s[k] : s[k];
            a.at[k] = to<T>(u * c[k] - v * sine);
            b.at[k] = to<T>(v * c[k] + u * sine);
        }
        store_pack<N>(to_y + one, a);
        store_pack<N>(to_y + other, b);
    }
}

static rope_strides strides_of(const tensor *t)
{
    int64_t rank = t->shape.rank;
    return {t->stride[rank - 2], rank > 2 ? t->stride[rank - 3] : 0, rank > 3 ? t->stride[rank - 4] : 0};
}

// Whether packs of n elements begin evenly.
static bool packs_begin_evenly(const tensor *t, int n)
{
    rope_strides s = strides_of(t);
    return s.head % n == 0 && s.row % n == 0 && s.outer % n == 0 &&
           t->byte_offset % (n * ingot_dtype_bytes(t->dtype)) == 0;
}

static status launch(const step *s, queue *q)
{
    const tensor *x = &s->in[0];
    int64_t rank = x->shape.rank;
    const rope_attrs *a = ATTRS_OF(rope_attrs, s->node);
    rope_shape p = rope_shape_of(s);
    by_dtype(s->in[0].dtype, [&](auto t) {
        using T = decltype(t);
        constexpr int N = WIDE<T>;
        rope_numbers r = {0, (int)p.heads, (int)p.dim, (int)p.turned, (int)p.positions, (int)a->inverse};
        r.inner = rank > 2 ? (int)x->shape.dim[rank - 3] : 1;
        r.x = strides_of(x), r.y = strides_of(&s->out[0]);
        bool wide = !a->interleaved && p.turned / 2 % N == 0 && p.dim % N == 0 && packs_begin_evenly(x, N) &&
                    packs_begin_evenly(&s->out[0], N);
        r.items = p.rows * p.heads * ((p.turned / 2 + p.dim - p.turned) / (wide ? N : 1));
        auto turn = wide ? rope_turn<T, N, false> : a->interleaved ? rope_turn<T, 1, true> : rope_turn<T, 1, false>;
        turn<<<cuda_blocks(r.items), CUDA_THREADS, 0, q->stream>>>(
            (T *)s->out[0].data, (const T *)s->in[0].data, (const int32_t *)s->in[1].data, weights_of(&s->in[2]), r);
    });
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *)
{
    return cuda_match_like(n, 0) && n->out[0]->dtype == n->in[0]->dtype && shape_count(n->in[0]->shape) < INT32_MAX &&
           n->in[0]->shape.rank <= 4;
}

static bool stage_of(const step *s, const device_caps *, stage_offer *o)
{
    const rope_attrs *a = ATTRS_OF(rope_attrs, s->node);
    rope_shape p = rope_shape_of(s);
    if (p.rows != 1 || s->in[0].stride[s->in[0].shape.rank - 2] != p.dim) return false; // one row, its heads side by side
    if (shape_count(s->in[0].shape) > INT16_MAX || p.positions > INT32_MAX) return false;
    o->stage.kind = STAGE_ROPE;
    o->stage.inputs = 3, o->stage.outputs = 1;
    o->stage.count = (int32_t)shape_count(s->in[0].shape);
    o->stage.number[ROPE_HEADS] = (int32_t)p.heads, o->stage.number[ROPE_DIM] = (int32_t)p.dim;
    o->stage.number[ROPE_TURNED] = (int32_t)p.turned, o->stage.number[ROPE_POSITIONS] = (int32_t)p.positions;
    o->stage.number[ROPE_INTERLEAVED] = (int32_t)a->interleaved, o->stage.number[ROPE_INVERSE] = (int32_t)a->inverse;
    o->dtype = s->in[0].dtype;
    o->spread = STAGE_WHOLE;
    return true;
}

extern "C" const kernel_def rope_cuda[] = {
    {.op = &op_rope_def,
     .name = "rope.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT | KERNEL_STRIDED_OUTPUT,
     .match = match,
     .wants = {STORAGE_LAST_CONTIGUOUS},
     .launch = launch,
     .error = ERROR_POINTWISE,
     .stage = stage_of},
    {},
};
