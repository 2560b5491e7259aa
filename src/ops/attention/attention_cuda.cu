// Attention of 16-bit numbers on CUDA, in tiles (Dao 2023): a block has BM queries of one head in shared memory and walks
// over the keys they see, two tiles of keys and values ahead of each other. Four warps have MT * 16 queries each; scores,
// probabilities and the running sums of a query never leave its warp's registers.
#include "ops/attention/attention_cuda.cuh"

enum { WARPS = 4, THREADS = WARPS * 32 };

template <typename T, int WIDTH, int MT, int BN> struct forward_tiles {
    static constexpr int BM = WARPS * MT * 16;
    T q[BM * WIDTH], k[2][BN * WIDTH], v[2][BN * WIDTH];
};

struct attention_forward {
    heads_of q, k, v;
    void *o;
    float *lse; // (B, H, T) or NULL
    attention_numbers a;
};

// Scores of this warp's queries: s = q k^T.
template <typename T, int WIDTH, int MT, int BN>
__device__ __forceinline__ void score(float (&s)[MT][BN / 8][4], const T *q, const T *k, int row)
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int j = 0; j < BN / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[m][j][i] = 0;
#pragma unroll
    for (int d = 0; d < WIDTH / 16; d++) {
        uint32_t left[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) left_side<WIDTH>(left[m], q, row + m * 16, d);
#pragma unroll
        for (int j = 0; j < BN / 16; j++) {
            uint32_t right[4];
            right_sides<WIDTH>(right, k, j * 16, d);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                multiply_add<T>(s[m][2 * j], left[m], right[0], right[1]);
                multiply_add<T>(s[m][2 * j + 1], left[m], right[2], right[3]);
            }
        }
    }
}

// o += p v, p as it lies in the registers.
template <typename T, int WIDTH, int MT, int BN>
__device__ __forceinline__ void add_values(float (&o)[MT][WIDTH / 8][4], const float (&p)[MT][BN / 8][4], const T *v)
{
#pragma unroll
    for (int j = 0; j < BN / 16; j++) {
        uint32_t left[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) as_left_side<T>(left[m], p[m][2 * j], p[m][2 * j + 1]);
#pragma unroll
        for (int d = 0; d < WIDTH / 16; d++) {
            uint32_t right[4];
            right_sides_of_rows<WIDTH>(right, v, j * 16, d);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                multiply_add<T>(o[m][2 * d], left[m], right[0], right[1]);
                multiply_add<T>(o[m][2 * d + 1], left[m], right[2], right[3]);
            }
        }
    }
}

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

    float o[MT][WIDTH / 8][4] = {}, max[MT][2], sum[MT][2] = {}, c = a.scale * LOG2_E;
    int query[MT][2], start[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            query[m][h] = first + row + m * 16 + lane / 4 + h * 8;
            start[m][h] = first_key(a, batch, query[m][h]);
            max[m][h] = -INFINITY;
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
        score<T, WIDTH, MT, BN>(s, t.q, t.k[turn], row);
        bool whole = at >= starts.high && at + BN <= a.tokens && (!a.causal || at + BN - 1 <= first + row);
#pragma unroll
        for (int m = 0; m < MT; m++) {
            if (!whole)
#pragma unroll
                for (int j = 0; j < BN / 8; j++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        int key = at + j * 8 + lane % 4 * 2 + i % 2, h = i / 2;
                        bool seen = key >= start[m][h] && key < a.tokens && (!a.causal || key <= query[m][h]);
                        if (!seen) s[m][j][i] = -INFINITY;
                    }
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float top = max[m][h];
#pragma unroll
                for (int j = 0; j < BN / 8; j++) top = fmaxf(top, fmaxf(s[m][j][2 * h], s[m][j][2 * h + 1]));
                top = quad_max(top);
                float base = top == -INFINITY ? 0 : top * c, shrink = power_of_two(max[m][h] * c - base), part = 0;
                max[m][h] = top;
#pragma unroll
                for (int j = 0; j < BN / 8; j++)
#pragma unroll
                    for (int i = 2 * h; i < 2 * h + 2; i++) {
                        s[m][j][i] = power_of_two(s[m][j][i] * c - base);
                        part += s[m][j][i];
                    }
                sum[m][h] = sum[m][h] * shrink + part;
#pragma unroll
                for (int d = 0; d < WIDTH / 8; d++) {
                    o[m][d][2 * h] *= shrink;
                    o[m][d][2 * h + 1] *= shrink;
                }
            }
        }
        add_values<T, WIDTH, MT, BN>(o, s, t.v[turn]);
    }
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float whole = quad_sum(sum[m][h]), inverse = 1 / whole;
            if (query[m][h] >= a.tokens) continue;
            T *to_o = (T *)f.o + (((int64_t)batch * a.tokens + query[m][h]) * a.heads + head) * a.dim;
#pragma unroll
            for (int d = 0; d < WIDTH / 8; d++) {
                int column = d * 8 + lane % 4 * 2;
                float left = o[m][d][2 * h] * inverse, right = o[m][d][2 * h + 1] * inverse;
                if (a.dim % 2 == 0 && column < a.dim) {
                    *reinterpret_cast<uint32_t *>(to_o + column) = pair<T>(left, right);
                } else {
                    if (column < a.dim) to_o[column] = to<T>(left);
                    if (column + 1 < a.dim) to_o[column + 1] = to<T>(right);
                }
            }
            if (f.lse && lane % 4 == 0)
                f.lse[((int64_t)batch * a.heads + head) * a.tokens + query[m][h]] = max[m][h] * a.scale + logf(whole);
        }
}

template <typename T, int WIDTH, int MT, int BN, int BLOCKS>
static void launch_tiles(const attention_forward &f, int batch, queue *q)
{
    using tiles = forward_tiles<T, WIDTH, MT, BN>;
    static_assert(sizeof(tiles) <= 227 * 1024);
    auto kernel = attend<T, WIDTH, MT, BN, BLOCKS>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)sizeof(tiles));
    dim3 grid((unsigned)((f.a.tokens + tiles::BM - 1) / tiles::BM), (unsigned)f.a.heads, (unsigned)batch);
    kernel<<<grid, THREADS, sizeof(tiles), q->stream>>>(f);
}

template <typename T> static void launch_type(const attention_forward &f, int batch, queue *q)
{
    if (f.a.dim <= 32)
        launch_tiles<T, 32, 1, 64, 2>(f, batch, q);
    else if (f.a.dim <= 64)
        launch_tiles<T, 64, 1, 64, 2>(f, batch, q);
    else
        launch_tiles<T, 128, 2, 32, 2>(f, batch, q);
}

static status launch(const step *s, queue *q)
{
    attention_forward f = {heads_of_tensor(&s->in[0]),          heads_of_tensor(&s->in[1]),
                           heads_of_tensor(&s->in[2]),          s->out[ATTENTION_O].data,
                           (float *)s->out[ATTENTION_LSE].data, attention_numbers_of(s, 0, 3)};
    int batch = (int)s->in[0].shape.dim[0];
    if (s->in[0].dtype == INGOT_BF16)
        launch_type<bf16>(f, batch, q);
    else
        launch_type<f16>(f, batch, q);
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    shape q = n->in[0]->shape;
    ingot_dtype d = n->in[0]->dtype;
    return caps->major >= 8 && (d == INGOT_BF16 || d == INGOT_F16) && n->in[1]->dtype == d && n->in[2]->dtype == d &&
           q.dim[3] <= 128 && q.dim[0] <= 65535 && q.dim[2] <= 65535 && q.dim[1] < 1 << 30 &&
           ATTRS_OF(attention_attrs, n)->scale > 0 &&
           (!n->out[ATTENTION_LSE] || n->out[ATTENTION_LSE]->dtype == INGOT_F32);
}

extern "C" const kernel_def attention_cuda[] = {
    {.op = &op_attention_def,
     .name = "attention.mma",
     .level = LEVEL_BEST,
     .match = match,
     .wants = {STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS, STORAGE_LAST_CONTIGUOUS},
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
