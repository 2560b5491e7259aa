// The gradient of attention of 16-bit numbers on CUDA, in tiles (Dao 2023) and without atomics: one pass over queries for dq,
// one over keys for dk and dv. Each makes the probabilities again from lse; what heads of one kv head give is added in the
// order of the heads. The first pass leaves delta, sum(do o) of each query, for the second.
#include "ops/attention/attention_cuda.cuh"

// Rows of a result, from token `row` on, times `scale`.
template <typename T, int WIDTH, int MT>
__device__ __forceinline__ void store_rows(const heads_of &all, const float (&y)[MT][WIDTH / 8][4],
                                           const attention_numbers &a, int batch, int head, int row, float scale)
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int token = row + m * 16 + (int)threadIdx.x % 32 / 4 + h * 8;
            if (token < a.tokens) store_row<T, WIDTH>(row_of_token<T>(all, batch, token, head), y[m], h, a.dim, scale);
        }
}

// ---- dq: a block has queries and walks over keys ----

template <typename T, int WIDTH, typename P, int BN, int WARPS> struct query_tiles {
    static constexpr int BM = WARPS * P::MT * 16, THREADS = WARPS * 32;
    T q[BM * WIDTH], dout[BM * WIDTH], k[2][BN * WIDTH], v[2][BN * WIDTH];
};

// Each row of this block: sum(do o), by the four threads that have the row in results.
template <typename T>
__device__ __forceinline__ float delta_of(const attention_backward &f, int batch, int head, int token)
{
    const attention_numbers &a = f.a;
    if (token >= a.tokens) return 0;
    const T *d = (const T *)f.dout.at + batch * f.dout.batch + token * f.dout.token + head * f.dout.head;
    const T *o = (const T *)f.o.at + batch * f.o.batch + token * f.o.token + head * f.o.head;
    float sum = 0;
    if (f.dout.wide && f.o.wide) {
        for (int column = (int)threadIdx.x % 4 * 8; column < a.dim; column += 32) {
            pack<T, 8> x = load_pack<8>(d + column), y = load_pack<8>(o + column);
#pragma unroll
            for (int i = 0; i < 8; i++) sum += to_float(x.at[i]) * to_float(y.at[i]);
        }
    } else {
        for (int column = (int)threadIdx.x % 4; column < a.dim; column += 4)
            sum += to_float(d[column]) * to_float(o[column]);
    }
    return sum;
}

// P says who multiplies; BLOCKS: how many share a multiprocessor.
template <typename T, int WIDTH, typename P, int BN, int WARPS, int BLOCKS>
__global__ void __launch_bounds__(WARPS * 32, BLOCKS) grad_queries(attention_backward f)
{
    wait_for_inputs();
    using tiles = query_tiles<T, WIDTH, P, BN, WARPS>;
    constexpr int BM = tiles::BM, THREADS = tiles::THREADS, MT = P::MT;
    tiles &t = tiles_in_memory<tiles>();
    const attention_numbers &a = f.a;
    int head = blockIdx.y, batch = blockIdx.z, lane = threadIdx.x % 32;
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * BM, row = (int)threadIdx.x / 32 * MT * 16;
    int group = row / P::ROWS * P::ROWS;
    rows_in<T> q = rows_of_head<T>(f.q, a, batch, head), dout = rows_of_head<T>(f.dout, a, batch, head);
    rows_in<T> k = rows_of_head<T>(f.k, a, batch, head / a.group), v = rows_of_head<T>(f.v, a, batch, head / a.group);

    int last = first + BM < a.tokens ? first + BM : a.tokens;
    key_range starts = first_keys<THREADS>(a, batch, first, last);
    int from = starts.low / BN * BN, until = a.causal ? last : a.tokens;
    load_tile<BM, WIDTH, THREADS>(t.q, q, first);
    load_tile<BM, WIDTH, THREADS>(t.dout, dout, first);
    load_tile<BN, WIDTH, THREADS>(t.k[0], k, from);
    load_tile<BN, WIDTH, THREADS>(t.v[0], v, from);
    cp_async_commit();

    float dq[MT][WIDTH / 8][4], lse[MT][2], delta[MT][2], c = a.scale * LOG2_E;
    int query[MT][2], start[MT][2];
    clear(dq);
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int token = query[m][h] = first + row + m * 16 + lane / 4 + h * 8;
            int64_t at = ((int64_t)batch * a.heads + head) * a.tokens + token;
            start[m][h] = first_key(a, batch, token);
            lse[m][h] = token < a.tokens ? f.lse[at] * LOG2_E : INFINITY;
            delta[m][h] = quad_sum(delta_of<T>(f, batch, head, token));
            if (lane % 4 == 0 && token < a.tokens) f.delta[at] = delta[m][h];
        }
    for (int at = from, turn = 0; at < until; at += BN, turn ^= 1) {
        cp_async_wait<0>();
        __syncthreads();
        if (at + BN < until) {
            load_tile<BN, WIDTH, THREADS>(t.k[turn ^ 1], k, at + BN);
            load_tile<BN, WIDTH, THREADS>(t.v[turn ^ 1], v, at + BN);
        }
        cp_async_commit();
        if (a.causal && at > first + group + P::ROWS - 1) continue; // nothing here for those who multiply together
        float s[MT][BN / 8][4], dp[MT][BN / 8][4];
        P::template rows<WIDTH, BN, BM>(s, t.q, row, t.k[turn]);
        P::template rows<WIDTH, BN, BM>(dp, t.dout, row, t.v[turn]);
        bool whole = at >= starts.high && at + BN <= a.tokens && (!a.causal || at + BN - 1 <= first + row);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int j = 0; j < BN / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int key = at + j * 8 + lane % 4 * 2 + i % 2, h = i / 2;
                    bool seen = whole || (key >= start[m][h] && key < a.tokens && (!a.causal || key <= query[m][h]));
                    float p = seen ? exp2_approx(s[m][j][i] * c - lse[m][h]) : 0;
                    s[m][j][i] = seen ? p * (dp[m][j][i] - delta[m][h]) : 0;
                }
        P::template by<WIDTH, BN>(dq, s, t.k[turn]);
    }
    store_rows<T, WIDTH, MT>(f.dq, dq, a, batch, head, first + row, a.scale);
}

// ---- dk, dv: a block has keys and values and walks over the queries of all heads that read them ----

// SPLIT groups of WARPS warps take turns at the queries: where blocks are few, their walk is what takes the time.
template <typename T, int WIDTH, typename P, int BN, int WARPS, int SPLIT> struct key_tiles {
    static constexpr int BM = WARPS * P::MT * 16, THREADS = WARPS * 32 * SPLIT;
    T k[BM * WIDTH], v[BM * WIDTH], q[2][SPLIT][BN * WIDTH], dout[2][SPLIT][BN * WIDTH];
    float lse[2][SPLIT][BN], delta[2][SPLIT][BN];
    int start[2][SPLIT][BN], latest[2][SPLIT][BN / 32]; // first keys, and the largest of 32 queries
};

// The numbers of BN queries, a thread each.
template <int BN>
__device__ __forceinline__ void load_numbers(float *lse, float *delta, int *start, int *latest,
                                             const attention_backward &f, int batch, int head, int first, int thread)
{
    int query = first + thread;
    if (thread >= BN) return;
    bool inside = query < f.a.tokens;
    int64_t at = ((int64_t)batch * f.a.heads + head) * f.a.tokens + query;
    lse[thread] = inside ? f.lse[at] * LOG2_E : INFINITY;
    delta[thread] = inside ? f.delta[at] : 0;
    start[thread] = inside ? first_key(f.a, batch, query) : 0x7fffffff;
    int last = __reduce_max_sync(0xffffffffu, start[thread]);
    if (thread % 32 == 0) latest[thread / 32] = last;
}

// What the groups have, added in their order by the first one; `room` has memory for all but that.
template <int WARPS, int SPLIT, int M, int N>
__device__ __forceinline__ void join_groups(float (&x)[M][N][4], float *room, int group)
{
    constexpr int THREADS = WARPS * 32, EACH = M * N * 4 * THREADS;
    int thread = (int)threadIdx.x % THREADS;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < M * N * 4; i++)
        if (group) room[(group - 1) * EACH + i * THREADS + thread] = x[i / 4 / N][i / 4 % N][i % 4];
    __syncthreads();
    for (int other = 0; !group && other < SPLIT - 1; other++)
#pragma unroll
        for (int i = 0; i < M * N * 4; i++) x[i / 4 / N][i / 4 % N][i % 4] += room[other * EACH + i * THREADS + thread];
}

template <typename T, int WIDTH, typename P, int BN, int WARPS, int BLOCKS, int SPLIT>
__global__ void __launch_bounds__(WARPS * 32 * SPLIT, BLOCKS) grad_keys(attention_backward f)
{
    using tiles = key_tiles<T, WIDTH, P, BN, WARPS, SPLIT>;
    constexpr int BM = tiles::BM, THREADS = tiles::THREADS, MT = P::MT;
    tiles &t = tiles_in_memory<tiles>();
    const attention_numbers &a = f.a;
    int kv_head = blockIdx.y, batch = blockIdx.z, lane = threadIdx.x % 32;
    int first = (int)blockIdx.x * BM, row = (int)threadIdx.x / 32 % WARPS * MT * 16,
        part = (int)threadIdx.x / 32 / WARPS;
    int group = row / P::ROWS * P::ROWS; // long columns first
    load_tile<BM, WIDTH, THREADS>(t.k, rows_of_head<T>(f.k, a, batch, kv_head), first);
    load_tile<BM, WIDTH, THREADS>(t.v, rows_of_head<T>(f.v, a, batch, kv_head), first);

    int from = a.causal ? first / BN * BN : 0, tiles_a_head = (a.tokens - from + BN - 1) / BN;
    int count = tiles_a_head * a.group;
    auto load = [&](int index, int turn) {
#pragma unroll
        for (int p = 0; p < SPLIT; p++, index++) {
            if (index >= count) break;
            int head = kv_head * a.group + index / tiles_a_head, at = from + index % tiles_a_head * BN;
            load_tile<BN, WIDTH, THREADS>(t.q[turn][p], rows_of_head<T>(f.q, a, batch, head), at);
            load_tile<BN, WIDTH, THREADS>(t.dout[turn][p], rows_of_head<T>(f.dout, a, batch, head), at);
            if (p == part)
                load_numbers<BN>(t.lse[turn][p], t.delta[turn][p], t.start[turn][p], t.latest[turn][p], f, batch, head,
                                 at, (int)threadIdx.x % (WARPS * 32));
        }
    };
    load(0, 0);
    cp_async_commit();
    float dk[MT][WIDTH / 8][4], dv[MT][WIDTH / 8][4], c = a.scale * LOG2_E;
    clear(dk);
    clear(dv);
    for (int next = 0; next < count; next += SPLIT) {
        int turn = next / SPLIT & 1, index = next + part, at = from + index % tiles_a_head * BN;
        cp_async_wait<0>();
        __syncthreads();
        if (next + SPLIT < count) load(next + SPLIT, turn ^ 1);
        cp_async_commit();
        if (index >= count) continue;
        if (a.causal && at + BN - 1 < first + group) continue; // nothing here for those who multiply together
        float s[MT][BN / 8][4], dp[MT][BN / 8][4];
        P::template rows<WIDTH, BN, BM>(s, t.k, row, t.q[turn][part]); // keys by queries
        int latest = t.latest[turn][part][0];
        for (int i = 1; i < BN / 32; i++) latest = max(latest, t.latest[turn][part][i]);
        bool whole = latest <= first + row && at + BN <= a.tokens && (!a.causal || at >= first + row + MT * 16 - 1);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int j = 0; j < BN / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int column = j * 8 + lane % 4 * 2 + i % 2, key = first + row + m * 16 + lane / 4 + i / 2 * 8;
                    bool seen = whole || (key >= t.start[turn][part][column] && at + column < a.tokens &&
                                          (!a.causal || key <= at + column));
                    s[m][j][i] = seen ? exp2_approx(s[m][j][i] * c - t.lse[turn][part][column]) : 0;
                }
        P::template by<WIDTH, BN>(dv, s, t.dout[turn][part]);
        P::template rows<WIDTH, BN, BM>(dp, t.v, row, t.dout[turn][part]);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int j = 0; j < BN / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int column = j * 8 + lane % 4 * 2 + i % 2;
                    s[m][j][i] *= dp[m][j][i] - t.delta[turn][part][column];
                }
        P::template by<WIDTH, BN>(dk, s, t.q[turn][part]);
    }
    if constexpr (SPLIT > 1) {
        static_assert((SPLIT - 1) * MT * WIDTH / 2 * WARPS * 32 * sizeof(float) <= sizeof(t.q) + sizeof(t.dout));
        join_groups<WARPS, SPLIT>(dk, (float *)t.q, part);
        join_groups<WARPS, SPLIT>(dv, (float *)t.q, part);
        if (part) return;
    }
    store_rows<T, WIDTH, MT>(f.dk, dk, a, batch, kv_head, first + row, a.scale);
    store_rows<T, WIDTH, MT>(f.dv, dv, a, batch, kv_head, first + row, 1);
}

// As tiles of queries and of keys: who multiplies, rows of the other side, warps, blocks that share a multiprocessor.
template <typename P, int BN, int WARPS, int BLOCKS, int SPLIT = 1> struct walk {
    template <typename T, int WIDTH> static void queries(const attention_backward &f, int batch, queue *q)
    {
        launch_tiles<query_tiles<T, WIDTH, P, BN, WARPS>>(grad_queries<T, WIDTH, P, BN, WARPS, BLOCKS>, f, WARPS * 32,
                                                          f.a.heads, batch, q);
    }
    template <typename T, int WIDTH> static void keys(const attention_backward &f, int batch, queue *q)
    {
        using tiles = key_tiles<T, WIDTH, P, BN, WARPS, SPLIT>;
        launch_tiles<tiles>(grad_keys<T, WIDTH, P, BN, WARPS, BLOCKS, SPLIT>, f, tiles::THREADS, f.a.kv_heads, batch,
                            q);
    }
};

template <typename T, int WIDTH, typename QUERIES, typename KEYS>
static void launch_width(const attention_backward &f, int batch, queue *q)
{
    QUERIES::template queries<T, WIDTH>(f, batch, q);
    KEYS::template keys<T, WIDTH>(f, batch, q);
}

template <typename T> static void launch_warps(const attention_backward &f, int batch, queue *q)
{
    int64_t blocks = (f.a.tokens + 63) / 64 * f.a.kv_heads * batch;
    if (f.a.dim <= 32 && blocks <= q->caps->multiprocessors)
        launch_width<T, 32, walk<by_warps<1>, 64, 4, 2>, walk<by_warps<1>, 64, 4, 1, 4>>(f, batch, q);
    else if (f.a.dim <= 32)
        launch_width<T, 32, walk<by_warps<1>, 64, 4, 2>, walk<by_warps<1>, 64, 4, 2>>(f, batch, q);
    else if (f.a.dim <= 64)
        launch_width<T, 64, walk<by_warps<1>, 32, 4, 4>, walk<by_warps<1>, 32, 4, 4>>(f, batch, q);
    else
        launch_width<T, 128, walk<by_warps<1>, 32, 4, 3>, walk<by_warps<1>, 32, 4, 2>>(f, batch, q);
}

status attention_grad_by_warps(const step *s, queue *q)
{
    attention_backward f = attention_backward_of(s);
    int batch = (int)s->in[1].shape.dim[0];
    if (s->in[0].dtype == INGOT_BF16)
        launch_warps<bf16>(f, batch, q);
    else
        launch_warps<f16>(f, batch, q);
    return INGOT_OK;
}

bool attention_grad_matches(const node *n, const device_caps *caps)
{
    ingot_dtype d = n->in[0]->dtype;
    if (caps->major < 8 || (d != INGOT_BF16 && d != INGOT_F16) || n->in[5]->dtype != INGOT_F32) return false;
    for (int i = 1; i < 5; i++)
        if (n->in[i]->dtype != d) return false;
    return attention_fits(n->in[1]->shape);
}

extern "C" const kernel_def attention_grad_cuda[] = {
    {.op = &op_attention_grad_def,
     .name = "attention_grad.mma",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_STRIDED_OUTPUT,
     .match = attention_grad_matches,
     .wants = ATTENTION_GRAD_WANTS,
     .scratch = attention_backward_scratch,
     .launch = attention_grad_by_warps,
     .error = ERROR_SUM},
    {},
};
