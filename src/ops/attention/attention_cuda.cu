// Attention of 16-bit numbers on CUDA, in tiles (Dao 2023): a block has BM queries of one head in shared memory and walks
// over the keys they see, the next tile of keys and values on its way meanwhile. Four warps have MT * 16 queries each.
#include "ops/attention/attention_cuda.cuh"

enum { WARPS = 4, THREADS = WARPS * 32 };

template <typename T, int WIDTH, int MT, int BN> struct forward_tiles {
    static constexpr int BM = WARPS * MT * 16;
    T q[BM * WIDTH], k[2][BN * WIDTH], v[2][BN * WIDTH];
};

// BLOCKS: how many share a multiprocessor, as was measured.
template <typename T, int WIDTH, int MT, int BN, int BLOCKS>
__global__ void __launch_bounds__(THREADS, BLOCKS) attend(attention_forward f)
{
    using tiles = forward_tiles<T, WIDTH, MT, BN>;
    constexpr int BM = tiles::BM;
    extern __shared__ __align__(128) unsigned char memory[];
    tiles &t = *reinterpret_cast<tiles *>(memory);
    const attention_numbers &a = f.a;
    int head = blockIdx.y, batch = blockIdx.z, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * BM; // long rows first
    int row = warp * MT * 16;
    rows_in<T> q = rows_of_head<T>(f.q, a, batch, head), k = rows_of_head<T>(f.k, a, batch, head / a.group);
    rows_in<T> v = rows_of_head<T>(f.v, a, batch, head / a.group);

    int last = first + BM < a.tokens ? first + BM : a.tokens;
    key_range starts = first_keys<THREADS>(a, batch, first, last);
    int from = starts.low / BN * BN, until = a.causal ? last : a.tokens;
    load_tile<BM, WIDTH, THREADS>(t.q, q, first);
    load_tile<BN, WIDTH, THREADS>(t.k[0], k, from);
    load_tile<BN, WIDTH, THREADS>(t.v[0], v, from);
    copy_commit();

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
        copy_wait<0>();
        __syncthreads();
        if (at + BN < until) {
            load_tile<BN, WIDTH, THREADS>(t.k[turn ^ 1], k, at + BN);
            load_tile<BN, WIDTH, THREADS>(t.v[turn ^ 1], v, at + BN);
        }
        copy_commit();
        if (a.causal && at > first + row + MT * 16 - 1) continue; // nothing here for this warp
        float s[MT][BN / 8][4];
        clear(s);
        multiply_rows<T, WIDTH, MT, BN>(s, t.q, row, t.k[turn]);
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
        attend_keys<T, WIDTH, MT, BN>(r, s, t.v[turn], c);
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

template <typename T, int WIDTH, int MT, int BN, int BLOCKS>
static void launch_width(const attention_forward &f, int batch, queue *q)
{
    launch_tiles<forward_tiles<T, WIDTH, MT, BN>>(attend<T, WIDTH, MT, BN, BLOCKS>, f, THREADS, f.a.heads, batch, q);
}

template <typename T> static void launch_type(const attention_forward &f, int batch, queue *q)
{
    if (f.a.dim <= 32)
        launch_width<T, 32, 1, 64, 2>(f, batch, q);
    else if (f.a.dim <= 64)
        launch_width<T, 64, 1, 64, 2>(f, batch, q);
    else
        launch_width<T, 128, 2, 32, 2>(f, batch, q);
}

static status launch(const step *s, queue *q)
{
    attention_forward f = attention_forward_of(s);
    int batch = (int)s->in[0].shape.dim[0];
    if (s->in[0].dtype == INGOT_BF16)
        launch_type<bf16>(f, batch, q);
    else
        launch_type<f16>(f, batch, q);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
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
     .match = match,
     .wants = ATTENTION_WANTS,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
