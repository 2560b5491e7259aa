// Attention of 16-bit numbers on CUDA, in tiles (Dao 2023): a block has BM queries of one head in shared memory and walks
// over the keys they see, the next tile of keys and values on its way meanwhile. A warp has MT * 16 queries.
#include "ops/attention/attention_cuda.cuh"

template <typename T, int WIDTH, typename P, int BN, int WARPS> struct forward_tiles {
    static constexpr int BM = WARPS * P::MT * 16, THREADS = WARPS * 32;
    T q[BM * WIDTH], k[2][BN * WIDTH], v[2][BN * WIDTH];
};

// P says who multiplies; BLOCKS: how many share a multiprocessor.
template <typename T, int WIDTH, typename P, int BN, int WARPS, int BLOCKS>
__global__ void __launch_bounds__(WARPS * 32, BLOCKS) attend(attention_forward f)
{
    wait_for_inputs();
    using tiles = forward_tiles<T, WIDTH, P, BN, WARPS>;
    constexpr int BM = tiles::BM, THREADS = tiles::THREADS, MT = P::MT;
    tiles &t = tiles_in_memory<tiles>();
    const attention_numbers &a = f.a;
    int head = blockIdx.y, batch = blockIdx.z, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * BM; // long rows first
    int row = warp * MT * 16, group = row / P::ROWS * P::ROWS;
    rows_in<T> q = rows_of_head<T>(f.q, a, batch, head), k = rows_of_head<T>(f.k, a, batch, head / a.group);
    rows_in<T> v = rows_of_head<T>(f.v, a, batch, head / a.group);

    int last = first + BM < a.tokens ? first + BM : a.tokens;
    key_range starts = first_keys<THREADS>(a, batch, first, last);
    int from = starts.low / BN * BN, until = a.causal ? last : a.tokens;
    load_tile<BM, WIDTH, THREADS>(t.q, q, first);
    load_tile<BN, WIDTH, THREADS>(t.k[0], k, from);
    load_tile<BN, WIDTH, THREADS>(t.v[0], v, from);
    cp_async_commit();

    attended<WIDTH, MT> r;
    float c = a.scale * LOG2_E;
    int query[MT][2], start[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            query[m][h] = first + row + m * 16 + lane / 4 + h * 8;
            start[m][h] = first_key(a, batch, query[m][h]);
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
        float s[MT][BN / 8][4];
        P::template rows<WIDTH, BN, BM>(s, t.q, row, t.k[turn]);
        bool whole = at >= starts.high && at + BN <= a.tokens && (!a.causal || at + BN - 1 <= first + row);
        if (!whole)
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int j = 0; j < BN / 8; j++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        int key = at + j * 8 + lane % 4 * 2 + i % 2, h = i / 2;
                        bool seen = key >= start[m][h] && key < a.tokens && (!a.causal || key <= query[m][h]);
                        if (!seen) s[m][j][i] = -INFINITY;
                    }
        attend_keys<P, WIDTH, BN>(r, s, t.v[turn], c);
    }
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float whole = quad_sum(r.sum[m][h]);
            if (query[m][h] >= a.tokens) continue;
            store_row<T, WIDTH>(row_of_token<T>(f.o, a, batch, query[m][h], head, a.heads), r.o[m], h, a.dim,
                                1 / whole);
            if (f.lse && lane % 4 == 0)
                f.lse[((int64_t)batch * a.heads + head) * a.tokens + query[m][h]] = r.max[m][h] * a.scale + logf(whole);
        }
}

template <typename T, int WIDTH, typename P, int BN, int WARPS, int BLOCKS>
static void launch_width(const attention_forward &f, int batch, queue *q)
{
    launch_tiles<forward_tiles<T, WIDTH, P, BN, WARPS>>(attend<T, WIDTH, P, BN, WARPS, BLOCKS>, f, WARPS * 32,
                                                        f.a.heads, batch, q);
}

template <typename T> static void launch_warps(const attention_forward &f, int batch, queue *q)
{
    if (f.a.dim <= 32)
        launch_width<T, 32, by_warps<1>, 64, 4, 2>(f, batch, q);
    else if (f.a.dim <= 64)
        launch_width<T, 64, by_warps<1>, 64, 4, 2>(f, batch, q);
    else
        launch_width<T, 128, by_warps<2>, 32, 4, 2>(f, batch, q);
}

status attention_by_warps(const step *s, queue *q)
{
    attention_forward f = attention_forward_of(s);
    int batch = (int)s->in[0].shape.dim[0];
    if (s->in[0].dtype == INGOT_BF16)
        launch_warps<bf16>(f, batch, q);
    else
        launch_warps<f16>(f, batch, q);
    return INGOT_OK;
}

bool attention_matches(const node *n, const device_caps *caps)
{
    ingot_dtype d = n->in[0]->dtype;
    return caps->major >= 8 && (d == INGOT_BF16 || d == INGOT_F16) && n->in[1]->dtype == d && n->in[2]->dtype == d &&
           attention_fits(n->in[0]->shape) && ATTRS_OF(attention_attrs, n)->scale > 0 &&
           (!n->out[ATTENTION_LSE] || n->out[ATTENTION_LSE]->dtype == INGOT_F32);
}

extern "C" const kernel_def attention_cuda[] = {
    {.op = &op_attention_def,
     .name = "attention.mma",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = attention_matches,
     .wants = ATTENTION_WANTS,
     .launch = attention_by_warps,
     .error = ERROR_SUM},
    {},
};
