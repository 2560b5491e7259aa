// attention_grad.wgmma: what the two warp groups do that multiply, 64 keys each. attention_grad_wgmma.cuh has the schedule.
//
// Results of a product lie in registers as mma.cuh says: a thread has keys `row + lane / 4` and eight further, of queries (or
// columns) 8 j + lane % 4 * 2 and the next one.
#ifndef OPS_ATTENTION_ATTENTION_GRAD_PRODUCTS_CUH
#define OPS_ATTENTION_ATTENTION_GRAD_PRODUCTS_CUH

#include "ops/attention/attention_grad_wgmma.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// s (64 keys x QUERIES) = rows [first, first + 64) of `keys` by all of `queries`, transposed.
template <int WIDTH, typename T, int N>
__device__ __forceinline__ void begin_scores(float (&s)[N][4], const T *keys, int first, const T *queries)
{
    auto left = [&](int k) { return describe_tile(keys + (k / 4 * GRAD_KEYS + first) * 64 + k % 4 * 16, 16); };
    auto right = [&](int k) { return describe_tile(queries + k / 4 * N * 8 * 64 + k % 4 * 16, 16); };
    wgmma_fence();
    wgmma_shared<T, false>(s, left(0), right(0));
#pragma unroll
    for (int k = 1; k < WIDTH / 16; k++) wgmma_shared<T, true>(s, left(k), right(k));
    wgmma_commit();
}

// y (64 keys x WIDTH) += left, in registers, by the tile whose rows are the queries; queries as below.
template <int FROM, int TO, int WIDTH, typename T, int N>
__device__ __forceinline__ void begin_sum(float (&y)[WIDTH / 8][4], uint32_t (&left)[N][4], const T *tile)
{
#pragma unroll
    for (int j = FROM; j < TO; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) pin_register(left[j][i]);
    if (!FROM) pin(y);
    wgmma_fence();
#pragma unroll
    for (int j = FROM; j < TO; j++)
        wgmma_registers<T, true, true>(y, left[j], describe_tile(tile + j * 16 * 64, N * 16 * 64 * (int)sizeof(T)));
    wgmma_commit();
}

// dq (64 x 64) = ds k, both tiles with rows of keys: one panel of each.
template <typename T> __device__ __forceinline__ void begin_queries(float (&dq)[8][4], const T *ds, const T *k)
{
    wgmma_fence();
    wgmma_shared<T, false, true>(dq, describe_tile(ds, 16), describe_tile(k, 16));
#pragma unroll
    for (int j = 1; j < GRAD_KEYS / 16; j++)
        wgmma_shared<T, true, true>(dq, describe_tile(ds + j * 16 * 64, 16), describe_tile(k + j * 16 * 64, 16));
    wgmma_commit();
}

// 64 keys from `row` on, as left sides of products, into a tile of GRAD_KEYS rows.
template <typename T, int N> __device__ __forceinline__ void store_matrices(T *tile, int row, const uint32_t (&a)[N][4])
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < N; j++) stmatrix_x4(tile + panel_at<GRAD_KEYS>(row + lane % 16, j * 2 + lane / 16), a[j]);
}

// The first query that sees a key.
__device__ __forceinline__ int first_query(const attention_numbers &a, int key)
{
    return key >= a.tokens ? 0x7fffffff : a.causal ? key : 0;
}

// Whether 64 keys and a block of queries all see each other. The keys begin `first` behind those of the work.
template <int QUERIES>
__device__ __forceinline__ bool sees_all(const wgmma_backward &w, const grad_walk<QUERIES> &at, int first)
{
    const attention_numbers &a = w.f.a;
    int key = at.n * GRAD_KEYS + first;
    return key + 64 <= a.tokens && (!a.causal || at.m * QUERIES >= key + 63) && !(at.seen && at.seen[at.m].y > key);
}

// s becomes p: 2^(s c - lse), 0 where a key is not seen; of queries [16 FROM, 16 TO).
template <int FROM, int TO, int N, int QUERIES>
__device__ __forceinline__ void probabilities(float (&s)[N][4], const float *lse, const wgmma_backward &w,
                                              const grad_walk<QUERIES> &at, bool whole, int row)
{
    const attention_numbers &a = w.f.a;
    int column = (int)threadIdx.x % 4 * 2, query = at.m * QUERIES;
    float c = a.scale * LOG2_E;
#pragma unroll
    for (int j = 2 * FROM; j < 2 * TO; j++) {
        float2 sum = *reinterpret_cast<const float2 *>(lse + j * 8 + column);
#pragma unroll
        for (int i = 0; i < 4; i++) s[j][i] = exp2_approx(s[j][i] * c - (i % 2 ? sum.y : sum.x));
    }
    if (whole) return;
    const int *start = at.seen ? w.start + (int64_t)at.batch * w.padded + query + column : nullptr;
    int key = at.n * GRAD_KEYS + row + (int)threadIdx.x % 32 / 4;
    int from[] = {first_query(a, key) - query - column, first_query(a, key + 8) - query - column};
#pragma unroll
    for (int j = 2 * FROM; j < 2 * TO; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (j * 8 + i % 2 < from[i / 2]) s[j][i] = 0;
            if (start && key + i / 2 * 8 < start[j * 8 + i % 2]) s[j][i] = 0;
        }
}

template <int FROM, int TO, typename T, int N>
__device__ __forceinline__ void as_left_sides(uint32_t (&a)[N / 2][4], const float (&s)[N][4])
{
#pragma unroll
    for (int j = FROM; j < TO; j++) as_left_side<T>(a[j], s[2 * j], s[2 * j + 1]);
}

// ds = p (dp - delta). Where registers are few p is read as the product has it, rounded.
template <int FROM, int TO, typename T, int N>
__device__ __forceinline__ void slopes(uint32_t (&ds)[N / 2][4], const uint32_t (&packed)[N / 2][4],
                                       const float (&p)[N][4], const float (&dp)[N][4], const float *delta)
{
    int column = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int j = 2 * FROM; j < 2 * TO; j++) {
        float2 d = *reinterpret_cast<const float2 *>(delta + j * 8 + column);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t both = packed[j / 2][j % 2 * 2 + h];
            pack<T, 2> two = *reinterpret_cast<pack<T, 2> *>(&both);
            float left = N > 8 ? to_float(two.at[0]) : p[j][2 * h],
                  right = N > 8 ? to_float(two.at[1]) : p[j][2 * h + 1];
            ds[j / 2][j % 2 * 2 + h] = pair<T>(left * (dp[j][2 * h] - d.x), right * (dp[j][2 * h + 1] - d.y));
        }
    }
}

// The rows that a warp has of a result, 16 bytes a thread. `to` is this thread's first row, the other one is `further` behind.
template <typename T, int N>
__device__ __forceinline__ void store_rows_wide(T *to, int64_t further, const float (&y)[N][4], int dim, float scale,
                                                bool first, bool second)
{
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int j = 0; j < N; j += 4) {
            uint32_t w[4];
#pragma unroll
            for (int i = 0; i < 4; i++) w[i] = pair<T>(y[j + i][2 * h] * scale, y[j + i][2 * h + 1] * scale);
            turn_words(w);
            int column = (j + (int)threadIdx.x % 4) * 8;
            if ((h ? second : first) && column < dim)
                *reinterpret_cast<uint4 *>(to + h * further + column) = make_uint4(w[0], w[1], w[2], w[3]);
        }
}

// 0 or 1, the same in a warp, as the compiler cannot know.
__device__ __forceinline__ int warp_group()
{
    return __shfl_sync(0xffffffffu, (int)threadIdx.x / 128 - 1, 0);
}

// Once for the 32 threads, when all of them have come.
__device__ __forceinline__ void arrive_as_warp(uint64_t *barrier)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(barrier);
}

// dq of this warp group's part: to those who come after, or with what is there to its place.
template <typename T, int WIDTH>
__device__ __forceinline__ void hand_on(grad_tiles<T, WIDTH> &t, float (&dq)[8][4], const wgmma_backward &w,
                                        const grad_walk<GRAD_QUERIES<WIDTH>> &at, unsigned count)
{
    constexpr int QUERIES = GRAD_QUERIES<WIDTH>;
    int group = warp_group();
    float4 *mine = reinterpret_cast<float4 *>(t.dq) + group * 8 * 128 + (int)threadIdx.x % 128;
    bool last = at.ends(), alone = !at.turn_of_keys(w);
    barrier_wait(&t.dq_ready, count & 1);
    if (!last) {
#pragma unroll
        for (int j = 0; j < 8; j++) mine[j * 128] = make_float4(dq[j][0], dq[j][1], dq[j][2], dq[j][3]);
        settle_for_products();
    } else if (!alone) {
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float4 sum = mine[j * 128];
            dq[j][0] += sum.x, dq[j][1] += sum.y, dq[j][2] += sum.z, dq[j][3] += sum.w;
        }
    }
    arrive_as_warp(&t.dq_done);
    if (!last) return;
    const attention_numbers &a = w.f.a;
    int column = WIDTH == 64 ? 0 : group * 64, row = (WIDTH == 64 ? group * 64 : 0) + (int)threadIdx.x % 128 / 32 * 16;
    int token = at.m * QUERIES + row + (int)threadIdx.x % 32 / 4;
    store_rows_wide(row_of_token<T>(w.f.dq, at.batch, token, at.head(w)) + column, 8 * w.f.dq.token, dq, a.dim - column,
                    a.scale, token < a.tokens, token + 8 < a.tokens);
}

template <typename T, int WIDTH>
__device__ __forceinline__ void store_keys(const heads_of &all, const float (&y)[WIDTH / 8][4],
                                           const attention_numbers &a, int batch, int head, int key, float scale)
{
    store_rows_wide(row_of_token<T>(all, batch, key, head), 8 * all.token, y, a.dim, scale, key < a.tokens,
                    key + 8 < a.tokens);
}

template <int N> __device__ __forceinline__ void clear_sums(float (&y)[N][4])
{
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) y[j][i] = 0;
}

// dQ of block `count`, when both groups have left their ds.
template <typename T, int WIDTH>
__device__ __forceinline__ void begin_own_queries(grad_tiles<T, WIDTH> &t, float (&dq)[8][4], unsigned count)
{
    constexpr int PANEL = GRAD_KEYS * 64;
    int group = warp_group(), place = count & 1;
    barrier_wait(&t.ds_full[place], count >> 1 & 1);
    begin_queries(dq, t.ds[place] + (WIDTH == 64 ? group * PANEL : 0), t.k + (WIDTH == 64 ? 0 : group * PANEL));
}

// One block of queries, and dQ of the one before it, which is `before` where this is not the FIRST: while powers are taken
// tensor cores have dQ to do, and neither group waits for the other. Products are waited for in the order in which they are
// begun: all but so many.
template <bool FIRST, typename T, int WIDTH>
__device__ __forceinline__ void grad_step(grad_tiles<T, WIDTH> &t, const wgmma_backward &w,
                                          const grad_walk<GRAD_QUERIES<WIDTH>> &at,
                                          const grad_walk<GRAD_QUERIES<WIDTH>> &before, unsigned count,
                                          float (&dk)[WIDTH / 8][4], float (&dv)[WIDTH / 8][4])
{
    constexpr int QUERIES = GRAD_QUERIES<WIDTH>, STEPS = QUERIES / 16, HALF = STEPS / 2;
    int first = warp_group() * 64, row = first + (int)threadIdx.x % 128 / 32 * 16;
    int place = count & 1, phase = count >> 1 & 1;
    float s[QUERIES / 8][4], dp[QUERIES / 8][4], dq[8][4];
    uint32_t p[STEPS][4], ds[STEPS][4];

    barrier_wait(&t.q_full[place], phase);
    begin_scores<WIDTH>(s, t.k, first, t.q[place]);
    if constexpr (!FIRST) begin_own_queries(t, dq, count - 1);
    wgmma_wait<FIRST ? 0 : 1>(); // s
    pin(s);
    bool whole = sees_all(w, at, first);
    probabilities<0, HALF>(s, t.lse[place], w, at, whole, row);
    as_left_sides<0, HALF, T>(p, s);
    barrier_wait(&t.dout_full[place], phase);
    begin_sum<0, HALF, WIDTH>(dv, p, t.dout[place]);
    if constexpr (!FIRST) {
        wgmma_wait<1>(); // dq
        pin(dq);
        hand_on(t, dq, w, before, count - 1);
    }
    begin_scores<WIDTH>(dp, t.v, first, t.dout[place]);
    probabilities<HALF, STEPS>(s, t.lse[place], w, at, whole, row);
    as_left_sides<HALF, STEPS, T>(p, s);
    begin_sum<HALF, STEPS, WIDTH>(dv, p, t.dout[place]);
    wgmma_wait<1>(); // dp
    pin(dp);
    slopes<0, HALF, T>(ds, p, s, dp, t.delta[place]);
    begin_sum<0, HALF, WIDTH>(dk, ds, t.q[place]);
    slopes<HALF, STEPS, T>(ds, p, s, dp, t.delta[place]);
    begin_sum<HALF, STEPS, WIDTH>(dk, ds, t.q[place]);
    store_matrices(t.ds[place], row, ds); // both groups are done with what was here: each waited for dQ, two blocks ago
    settle_for_products();
    arrive_as_warp(&t.ds_full[place]);
    wgmma_wait<0>();
    pin(p);
    pin(ds);
    arrive_as_warp(&t.dout_free[place]);
    arrive_as_warp(&t.q_free[place]);
}

template <typename T, int WIDTH>
__device__ __forceinline__ void grad_multiply(grad_tiles<T, WIDTH> &t, const wgmma_backward &w)
{
    const attention_numbers &a = w.f.a;
    float dk[WIDTH / 8][4], dv[WIDTH / 8][4], dq[8][4];
    unsigned count = 0;
    for (unsigned round = 0;; round++) {
        barrier_wait(&t.work_full[round & 1], round >> 1 & 1);
        int work = t.work[round & 1];
        arrive_as_warp(&t.work_free[round & 1]);
        if (work < 0) break;
        clear_sums(dk);
        clear_sums(dv);
        grad_walk<GRAD_QUERIES<WIDTH>> at(w, work), before = at;
        barrier_wait(&t.k_full, round & 1);
        barrier_wait(&t.v_full, round & 1);
        grad_step<true>(t, w, at, before, count++, dk, dv);
        for (at.next(w); at.there(w); at.next(w)) {
            grad_step<false>(t, w, at, before, count++, dk, dv);
            before = at;
        }
        begin_own_queries(t, dq, count - 1);
        wgmma_wait<0>();
        pin(dq);
        arrive_as_warp(&t.keys_free);
        hand_on(t, dq, w, before, count - 1);
        pin(dv);
        pin(dk);
        int key = at.n * GRAD_KEYS + (int)threadIdx.x / 32 * 16 - 64 + (int)threadIdx.x % 32 / 4;
        store_keys<T, WIDTH>(w.f.dv, dv, a, at.batch, at.kv_head, key, 1);
        store_keys<T, WIDTH>(w.f.dk, dk, a, at.batch, at.kv_head, key, a.scale);
    }
}

#endif

#endif
