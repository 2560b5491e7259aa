// Attention for short rows of 16-bit numbers on CUDA, with or without rotary positions before it: a block has 32 queries of a head,
// and each warp 32 keys of them.
#include "ops/attention/attention_short_cuda.cuh"
#include "ops/turned_attention/turned_attention.h"

template <typename T, int WIDTH> struct attend_tiles {
    T q[SHORT_ROWS * WIDTH], k[SHORT_TOKENS * WIDTH], v[SHORT_TOKENS * WIDTH];
    float sums[SHORT_PIECES * SHORT_ROWS * SUMS_PITCH<WIDTH>];
    float max[SHORT_PIECES * SHORT_ROWS], sum[SHORT_PIECES * SHORT_ROWS];
};

// What the warps have of a row: each as if its keys were all.
template <typename T, int WIDTH>
__device__ __forceinline__ void join_pieces(const attend_tiles<T, WIDTH> &t, const attention_forward &f, int batch,
                                            int head, int first, int pieces)
{
    const attention_numbers &a = f.a;
    int row = (int)threadIdx.x / (WIDTH / 8), column = (int)threadIdx.x % (WIDTH / 8) * 8, token = first + row;
    if (row >= SHORT_ROWS || token >= a.tokens || column >= a.dim) return;
    float top = -INFINITY, sum = 0, o[8] = {};
#pragma unroll 1
    for (int p = 0; p < pieces; p++) top = fmaxf(top, t.max[p * SHORT_ROWS + row]);
#pragma unroll 1
    for (int p = 0; p < pieces; p++) {
        int at = p * SHORT_ROWS + row;
        float share = exp2_approx((t.max[at] - top) * a.scale * LOG2_E);
        pack<float, 8> part = load_pack<8>(t.sums + at * SUMS_PITCH<WIDTH> + column);
        sum += t.sum[at] * share;
#pragma unroll
        for (int k = 0; k < 8; k++) o[k] += part.at[k] * share;
    }
    float whole = 1 / sum;
    pack<T, 8> out;
#pragma unroll
    for (int k = 0; k < 8; k++) out.at[k] = to<T>(o[k] * whole);
    store_pack<8>(row_of_token<T>(f.o, a, batch, token, head, a.heads) + column, out);
    if (f.lse && column == 0) f.lse[(batch * a.heads + head) * a.tokens + token] = top * a.scale + logf(sum);
}

template <typename T, int WIDTH, bool TURNS>
__global__ void __launch_bounds__(SHORT_THREADS) attend_short(attention_forward f, short_turns r)
{
    launch_next();
    attend_tiles<T, WIDTH> &t = tiles_in_memory<attend_tiles<T, WIDTH>>();
    const attention_numbers &a = f.a;
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 % 2 * 16, part = (int)threadIdx.x / 64;
    int head = blockIdx.y, batch = blockIdx.z, kv_head = head / a.group, at = part * SHORT_PIECE;
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * SHORT_ROWS;
    int until = a.causal ? min(a.tokens, first + SHORT_ROWS) : a.tokens;
    short_source<T, WIDTH, SHORT_TOKENS> v_source(f.v, a, batch, kv_head, 0, 0, until);
    if constexpr (TURNS) {
        turned_source<T, WIDTH, SHORT_ROWS> q(f.q, a, r, batch, head, first, a.tokens);
        turned_source<T, WIDTH, SHORT_TOKENS> k(f.k, a, r, batch, kv_head, 0, until);
        wait_for_writers();
        v_source.load(t.v);
        cp_async_commit();
        q.load(r);
        k.load(r);
        q.store(t.q);
        k.store(t.k);
        if (r.q) q.keep(r.q, a, batch, head, a.heads, first);
        if (r.k && head % a.group == 0) k.keep(r.k, a, batch, kv_head, a.kv_heads, first);
    } else {
        short_source<T, WIDTH, SHORT_ROWS> q(f.q, a, batch, head, first, 0, a.tokens);
        short_source<T, WIDTH, SHORT_TOKENS> k(f.k, a, batch, kv_head, 0, 0, until);
        wait_for_writers();
        q.load(t.q);
        k.load(t.k);
        v_source.load(t.v);
        cp_async_commit();
    }
    int low[2], high[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int query = first + row + lane / 4 + h * 8;
        low[h] = first_key(a, batch, query);
        high[h] = a.causal ? query : a.tokens - 1;
    }
    cp_async_wait<0>();
    __syncthreads();

    if (at < until) {
        left_rows<WIDTH> q;
        attended<WIDTH, 1> r;
        float s[1][SHORT_PIECE / 8][4];
        q.load(t.q, row);
        short_products<T>(s[0], q, t.k + at * WIDTH);
#pragma unroll
        for (int j = 0; j < SHORT_PIECE / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int k = at + j * 8 + lane % 4 * 2 + i % 2;
                if (k < low[i / 2] || k > high[i / 2] || k >= a.tokens) s[0][j][i] = -INFINITY;
            }
        attend_keys<by_warps<1>, WIDTH, SHORT_PIECE>(r, s, t.v + at * WIDTH, a.scale * LOG2_E);
        put_sums<WIDTH>(t.sums, part * SHORT_ROWS + row, r.o);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = quad_sum(r.sum[0][h]);
            int place = part * SHORT_ROWS + row + lane / 4 + h * 8;
            if (lane % 4 == 0) t.max[place] = r.max[0][h], t.sum[place] = sum;
        }
    }
    __syncthreads();
    join_pieces(t, f, batch, head, first, pieces_of(until, SHORT_PIECE));
}

template <typename T, bool TURNS>
static void launch_type(const attention_forward &f, const short_turns &r, int batch, queue *q)
{
    constexpr int WIDTH = 32, BYTES = (int)sizeof(attend_tiles<T, WIDTH>) + 1024;
    static_assert(BYTES <= 99 * 1024);
    cudaFuncSetAttribute(attend_short<T, WIDTH, TURNS>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    dim3 grid((unsigned)pieces_of(f.a.tokens, SHORT_ROWS), (unsigned)f.a.heads, (unsigned)batch);
    attend_short<T, WIDTH, TURNS><<<grid, SHORT_THREADS, BYTES, q->stream>>>(f, r);
}

static status launch(const step *s, queue *q)
{
    attention_forward f = attention_forward_of(s);
    int batch = (int)s->in[0].shape.dim[0];
    s->in[0].dtype == INGOT_F16 ? launch_type<f16, false>(f, {}, batch, q) : launch_type<bf16, false>(f, {}, batch, q);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    shape q = n->in[0]->shape;
    return attention_matches(n, caps) && short_fits(q, q.dim[2] * SHORT_PIECES, caps);
}

static status launch_turned(const step *s, queue *q)
{
    attention_forward f = attention_forward_of(s);
    short_turns r = short_turns_of(&s->in[TURNED_POSITION], &s->in[TURNED_ANGLES]);
    int batch = (int)s->in[0].shape.dim[0];
    f.a.starts = nullptr;
    r.q = s->out[TURNED_Q_AFTER].data, r.k = s->out[TURNED_K_AFTER].data;
    s->in[0].dtype == INGOT_F16 ? launch_type<f16, true>(f, r, batch, q) : launch_type<bf16, true>(f, r, batch, q);
    return INGOT_OK;
}

static bool match_turned(const node *n, const device_caps *caps)
{
    return turns_fit(n, n->in[TURNED_Q], n->in[TURNED_ANGLES]) && match(n, caps);
}

extern "C" const kernel_def attention_short_cuda[] = {
    {.op = &op_attention_def,
     .name = "attention.short",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .wants = SHORT_WANTS,
     .launch = launch,
     .error = ERROR_SUM},
    {.op = &op_turned_attention_def,
     .name = "turned_attention.short",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_BY_REQUEST,
     .match = match_turned,
     .wants = SHORT_WANTS,
     .launch = launch_turned,
     .error = ERROR_SUM},
    {},
};
