// The gradient of attention for short rows of 16-bit numbers on CUDA: one launch. A block has 32 queries of a head, for dq, or 32
// keys of a kv head, for dk and dv; each makes the probabilities again that it needs. Where rotary positions came before it,
// dq and dk are turned back.
#include "ops/attention/attention_short_cuda.cuh"
#include "ops/turned_attention/turned_attention.h"

enum { SHORT_COLUMNS = 2 * SHORT_TOKENS }; // the queries of two heads are there at once

template <typename T, int WIDTH> struct short_tiles {
    union {
        struct {
            T left[2][SHORT_ROWS * WIDTH], right[2][SHORT_COLUMNS * WIDTH];
        };
        float sums[2][SHORT_PIECES * SHORT_ROWS * SUMS_PITCH<WIDTH>];
    };
    float lse[SHORT_COLUMNS], delta[SHORT_COLUMNS];
    int start[SHORT_COLUMNS];
};

// ROWS queries of a head: do, and of each lse to base 2, sum(do o) and the first key it sees. Those that are none get p = 0.
template <typename T, int WIDTH, int ROWS> struct short_slopes {
    short_source<T, WIDTH, ROWS> dout, o;
    uint4 d[short_source<T, WIDTH, ROWS>::ITEMS], e[short_source<T, WIDTH, ROWS>::ITEMS];
    const float *lse;
    float sum;
    int start;

    __device__ __forceinline__ short_slopes(const attention_backward &f, int batch, int head, int first, int from,
                                            int until)
        : dout(f.dout, f.a, batch, head, first, from, until), o(f.o, f.a, batch, head, first, from, until),
          lse(f.lse + (batch * f.a.heads + head) * f.a.tokens + first), sum(INFINITY), start(0)
    {
        if ((int)threadIdx.x >= ROWS || first + (int)threadIdx.x >= f.a.tokens) lse = nullptr;
        pin_register(lse);
    }
    __device__ __forceinline__ void load(const attention_numbers &a, int batch, int first)
    {
#pragma unroll
        for (int i = 0; i < dout.ITEMS; i++) d[i] = dout.chunk_of(i), e[i] = o.chunk_of(i);
        if (!lse) return;
        sum = lse[threadIdx.x];
        start = first_key(a, batch, first + (int)threadIdx.x);
    }
    __device__ __forceinline__ void store(T *tile, short_tiles<T, WIDTH> &t, int column)
    {
        constexpr int CHUNKS = WIDTH / 8;
        if (threadIdx.x < ROWS) t.lse[column + threadIdx.x] = sum * LOG2_E, t.start[column + threadIdx.x] = start;
#pragma unroll
        for (int i = 0; i < dout.ITEMS; i++) {
            int row = dout.row(i), chunk = dout.chunk();
            pack<T, 8> x = numbers_of<T>(d[i]), y = numbers_of<T>(e[i]);
            float sum = 0;
#pragma unroll
            for (int k = 0; k < 8; k++) sum += to_float(x.at[k]) * to_float(y.at[k]);
#pragma unroll
            for (int offset = CHUNKS / 2; offset; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
            if (ROWS % dout.STEP && row >= ROWS) continue;
            *reinterpret_cast<uint4 *>(tile + tile_at<WIDTH>(row, chunk)) = d[i];
            if (chunk == 0) t.delta[column + row] = sum;
        }
    }
};

// Of SHORT_ROWS rows, what four warps have of each, added up and written, by 128 threads: eight columns of a row each, four and four
// where pairs are turned back.
template <typename T, int WIDTH, bool TURNS> struct short_result {
    static constexpr int EACH = WIDTH / 8;
    static_assert(SHORT_ROWS * EACH == 128);
    turn_by<T, WIDTH, 4> by;
    int row, one, other;

    __device__ __forceinline__ short_result()
        : row((int)threadIdx.x % 128 / EACH), one((int)threadIdx.x % EACH * (TURNS ? 4 : 8)),
          other(one + (TURNS ? WIDTH / 2 : 4))
    {
    }
    __device__ __forceinline__ void load(const short_turns &r, const attention_numbers &a, int batch, int first)
    {
        if (TURNS && first + row < a.tokens) by.load(r, r.position[batch * a.tokens + first + row], one);
    }
    __device__ __forceinline__ void write(const float *sums, const heads_of &to, const attention_numbers &a, int batch,
                                          int head, int first, float scale, bool turns) const
    {
        if (first + row >= a.tokens || one >= a.dim) return;
        float y[2][4] = {};
#pragma unroll
        for (int s = 0; s < SHORT_PIECES; s++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                pack<float, 4> part =
                    load_pack<4>(sums + (s * SHORT_ROWS + row) * SUMS_PITCH<WIDTH> + (h ? other : one));
#pragma unroll
                for (int k = 0; k < 4; k++) y[h][k] += part.at[k];
            }
        pack<T, 4> out[2];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float u = y[0][k] * scale, v = y[1][k] * scale, c = turns ? by.c[k] : 1, s = turns ? by.s[k] : 0;
            out[0].at[k] = ::to<T>(TURNS ? u * c + v * s : u);
            out[1].at[k] = ::to<T>(TURNS ? v * c - u * s : v);
        }
        T *to_row = row_of_token<T>(to, batch, first + row, head);
        store_pack<4>(to_row + one, out[0]);
        store_pack<4>(to_row + other, out[1]);
    }
};

template <bool TURNS, typename T, int WIDTH>
__device__ __forceinline__ void short_queries(short_tiles<T, WIDTH> &t, const attention_backward &f,
                                              const short_turns &r, int batch, int head, int first)
{
    const attention_numbers &a = f.a;
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 % 2 * 16, part = (int)threadIdx.x / 64;
    int kv_head = head / a.group, until = a.causal ? min(a.tokens, first + SHORT_ROWS) : a.tokens;
    short_source<T, WIDTH, SHORT_ROWS> q_source(f.q, a, batch, head, first, 0, a.tokens);
    short_source<T, WIDTH, SHORT_TOKENS> k_source(f.k, a, batch, kv_head, 0, 0, until);
    short_source<T, WIDTH, SHORT_TOKENS> v_source(f.v, a, batch, kv_head, 0, 0, until);
    short_slopes<T, WIDTH, SHORT_ROWS> slopes(f, batch, head, first, 0, a.tokens);
    wait_for_writers();
    q_source.load(t.left[0]);
    k_source.load(t.right[0]);
    v_source.load(t.right[1]);
    cp_async_commit();
    slopes.load(a, batch, first);
    short_result<T, WIDTH, TURNS> result;
    result.load(r, a, batch, first);
    slopes.store(t.left[1], t, 0);
    cp_async_wait<0>();
    __syncthreads();

    int at = part * SHORT_PIECE;
    float dq[1][WIDTH / 8][4];
    clear(dq);
    if (at < until) {
        left_rows<WIDTH> q, dout;
        q.load(t.left[0], row);
        dout.load(t.left[1], row);
        float s[1][4][4], dp[4][4], lse[2], delta[2], c = a.scale * LOG2_E;
        int low[2], high[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int i = row + lane / 4 + h * 8;
            lse[h] = t.lse[i], delta[h] = t.delta[i], low[h] = t.start[i];
            high[h] = min(a.tokens - 1, a.causal ? first + i : SHORT_TOKENS);
        }
        short_products<T>(s[0], q, t.right[0] + at * WIDTH);
        short_products<T>(dp, dout, t.right[1] + at * WIDTH);
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int k = at + j * 8 + lane % 4 * 2 + i % 2, h = i / 2;
                bool seen = k >= low[h] && k <= high[h];
                s[0][j][i] = seen ? exp2_approx(s[0][j][i] * c - lse[h]) * (dp[j][i] - delta[h]) : 0;
            }
        multiply_by<T, WIDTH, 1, SHORT_PIECE>(dq, s, t.right[0] + at * WIDTH);
    }
    __syncthreads();
    put_sums<WIDTH>(t.sums[0], part * SHORT_ROWS + row, dq);
    __syncthreads();
    if (threadIdx.x < 128) result.write(t.sums[0], f.dq, a, batch, head, first, a.scale, true);
}

template <bool TURNS, typename T, int WIDTH>
__device__ __forceinline__ void short_keys(short_tiles<T, WIDTH> &t, const attention_backward &f, const short_turns &r,
                                           int batch, int kv_head, int first)
{
    const attention_numbers &a = f.a;
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 % 2 * 16, part = (int)threadIdx.x / 64;
    int from = a.causal ? first : 0, at = part * SHORT_PIECE;
    bool none = at >= a.tokens || (a.causal && at < first);
    short_source<T, WIDTH, SHORT_ROWS> k_source(f.k, a, batch, kv_head, first, 0, a.tokens);
    short_source<T, WIDTH, SHORT_ROWS> v_source(f.v, a, batch, kv_head, first, 0, a.tokens);
    left_rows<WIDTH> k, v;
    short_result<T, WIDTH, TURNS> result;
    float dk[1][WIDTH / 8][4], dv[1][WIDTH / 8][4], c = a.scale * LOG2_E;
    clear(dk);
    clear(dv);
    for (int two = 0; two < a.group; two += 2) { // heads
        int one = kv_head * a.group + two, other_until = two + 1 < a.group ? a.tokens : 0;
        int other = other_until ? one + 1 : one;
        short_source<T, WIDTH, SHORT_TOKENS> q_source(f.q, a, batch, one, 0, from, a.tokens);
        short_source<T, WIDTH, SHORT_TOKENS> other_source(f.q, a, batch, other, 0, from, other_until);
        short_slopes<T, WIDTH, SHORT_TOKENS> slopes(f, batch, one, 0, from, a.tokens);
        short_slopes<T, WIDTH, SHORT_TOKENS> other_slopes(f, batch, other, 0, from, other_until);
        if (two)
            __syncthreads();
        else
            wait_for_writers();
        if (!two) k_source.load(t.left[0]), v_source.load(t.left[1]);
        q_source.load(t.right[0]);
        other_source.load(t.right[0] + SHORT_TOKENS * WIDTH);
        cp_async_commit();
        slopes.load(a, batch, 0);
        other_slopes.load(a, batch, 0);
        if (!two && threadIdx.x < 128) result.load(r, a, batch, first);
        slopes.store(t.right[1], t, 0);
        other_slopes.store(t.right[1] + SHORT_TOKENS * WIDTH, t, SHORT_TOKENS);
        cp_async_wait<0>();
        __syncthreads();
        if (!two) k.load(t.left[0], row), v.load(t.left[1], row);
#pragma unroll
        for (int n = 0; n < 2; n++) {
            if (none || two + n >= a.group) break;
            int columns = n * SHORT_TOKENS + at;
            const T *q = t.right[0] + columns * WIDTH, *dout = t.right[1] + columns * WIDTH;
            float p[1][4][4], ds[1][4][4];
            short_products<T>(p[0], k, q);
            short_products<T>(ds[0], v, dout);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int column = j * 8 + lane % 4 * 2;
                float2 lse = *reinterpret_cast<float2 *>(t.lse + columns + column);
                float2 delta = *reinterpret_cast<float2 *>(t.delta + columns + column);
                int2 start = *reinterpret_cast<int2 *>(t.start + columns + column);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int this_key = first + row + lane / 4 + i / 2 * 8;
                    bool seen =
                        this_key >= (i % 2 ? start.y : start.x) && (!a.causal || this_key <= at + column + i % 2);
                    p[0][j][i] = seen ? exp2_approx(p[0][j][i] * c - (i % 2 ? lse.y : lse.x)) : 0;
                    ds[0][j][i] = p[0][j][i] * (ds[0][j][i] - (i % 2 ? delta.y : delta.x));
                }
            }
            multiply_by<T, WIDTH, 1, SHORT_PIECE>(dv, p, dout);
            multiply_by<T, WIDTH, 1, SHORT_PIECE>(dk, ds, q);
        }
    }
    __syncthreads();
    put_sums<WIDTH>(t.sums[0], part * SHORT_ROWS + row, dk);
    put_sums<WIDTH>(t.sums[1], part * SHORT_ROWS + row, dv);
    __syncthreads();
    bool values = threadIdx.x / 128; // half of the threads write dv
    result.write(t.sums[values], values ? f.dv : f.dk, a, batch, kv_head, first, values ? 1 : a.scale, !values);
}

template <typename T, int WIDTH, bool TURNS>
__global__ void __launch_bounds__(SHORT_THREADS, 2) grad_short(attention_backward f, short_turns r)
{
    launch_next();
    short_tiles<T, WIDTH> &t = tiles_in_memory<short_tiles<T, WIDTH>>();
    int head = (int)blockIdx.x - f.a.kv_heads, first = (int)blockIdx.y * SHORT_ROWS, batch = (int)blockIdx.z;
    if (head < 0)
        short_keys<TURNS>(t, f, r, batch, (int)blockIdx.x, first);
    else
        short_queries<TURNS>(t, f, r, batch, head, first);
}

template <typename T, bool TURNS>
static void launch_type(const attention_backward &f, const short_turns &r, int batch, queue *q)
{
    constexpr int WIDTH = 32, BYTES = (int)sizeof(short_tiles<T, WIDTH>) + 1024;
    static_assert(BYTES <= 99 * 1024);
    cudaFuncSetAttribute(grad_short<T, WIDTH, TURNS>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    dim3 grid((unsigned)(f.a.kv_heads + f.a.heads), (unsigned)pieces_of(f.a.tokens, SHORT_ROWS), (unsigned)batch);
    grad_short<T, WIDTH, TURNS><<<grid, SHORT_THREADS, BYTES, q->stream>>>(f, r);
}

static status launch(const step *s, queue *q)
{
    attention_backward f = attention_backward_of(s);
    int batch = (int)s->in[1].shape.dim[0];
    s->in[0].dtype == INGOT_F16 ? launch_type<f16, false>(f, {}, batch, q) : launch_type<bf16, false>(f, {}, batch, q);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    shape q = n->in[1]->shape, k = n->in[2]->shape;
    return attention_grad_matches(n, caps) && short_fits(q, (q.dim[2] + k.dim[2]) * SHORT_PIECES, caps);
}

static status launch_turned(const step *s, queue *q)
{
    attention_backward f = attention_backward_of(s);
    short_turns r = short_turns_of(&s->in[TURNED_GRAD_POSITION], &s->in[TURNED_GRAD_ANGLES]);
    int batch = (int)s->in[1].shape.dim[0];
    f.a.starts = nullptr;
    s->in[0].dtype == INGOT_F16 ? launch_type<f16, true>(f, r, batch, q) : launch_type<bf16, true>(f, r, batch, q);
    return INGOT_OK;
}

static bool match_turned(const node *n, const device_caps *caps)
{
    return turns_fit(n, n->in[1], n->in[TURNED_GRAD_ANGLES]) && match(n, caps);
}

extern "C" const kernel_def attention_grad_short_cuda[] = {
    {.op = &op_attention_grad_def,
     .name = "attention_grad.short",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_STRIDED_OUTPUT,
     .match = match,
     .wants = SHORT_GRAD_WANTS,
     .launch = launch,
     .error = ERROR_SUM},
    {.op = &op_turned_attention_grad_def,
     .name = "turned_attention_grad.short",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_STRIDED_OUTPUT,
     .match = match_turned,
     .wants = SHORT_GRAD_WANTS,
     .launch = launch_turned,
     .error = ERROR_SUM},
    {},
};
