// Attention of float32 on CUDA and its gradient: the same walk over tiles as of 16-bit numbers, with plain multiplications
// in full float32. A block is 16 x 16 threads: thread (ty, tx) has R rows and every 16th column of a tile's result.
#include "ops/attention/attention_cuda.cuh"

enum { THREADS = 256, BN = 64, LP = BN + 4 };

template <int WIDTH> constexpr int LD = WIDTH + 4; // of a row in shared memory, so that rows begin in different banks

template <int ROWS, int WIDTH>
__device__ __forceinline__ void load_rows(float *tile, const rows_in<float> &from, int first)
{
    for (int item = threadIdx.x; item < ROWS * WIDTH / 4; item += THREADS) {
        int row = item / (WIDTH / 4), column = item % (WIDTH / 4) * 4;
        float4 v = {0, 0, 0, 0};
        if (first + row < from.rows && column < from.columns) {
            const float *source = from.at + (int64_t)(first + row) * from.stride + column;
            if (from.wide) {
                v = *reinterpret_cast<const float4 *>(source);
            } else {
                v.x = source[0];
                if (column + 1 < from.columns) v.y = source[1];
                if (column + 2 < from.columns) v.z = source[2];
                if (column + 3 < from.columns) v.w = source[3];
            }
        }
        *reinterpret_cast<float4 *>(tile + row * LD<WIDTH> + column) = v;
    }
}

__device__ __forceinline__ int ty()
{
    return (int)threadIdx.x / 16;
}
__device__ __forceinline__ int tx()
{
    return (int)threadIdx.x % 16;
}

// y[i][j] = row (ty R + i) of a times row (tx + 16 j) of b.
template <int WIDTH, int R> __device__ __forceinline__ void dots(float (&y)[R][4], const float *a, const float *b)
{
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) y[i][j] = 0;
#pragma unroll 4
    for (int d = 0; d < WIDTH; d += 4) {
        float4 u[R], v[4];
#pragma unroll
        for (int i = 0; i < R; i++) u[i] = *reinterpret_cast<const float4 *>(a + (ty() * R + i) * LD<WIDTH> + d);
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = *reinterpret_cast<const float4 *>(b + (tx() + 16 * j) * LD<WIDTH> + d);
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                y[i][j] = fmaf(u[i].x, v[j].x, y[i][j]);
                y[i][j] = fmaf(u[i].y, v[j].y, y[i][j]);
                y[i][j] = fmaf(u[i].z, v[j].z, y[i][j]);
                y[i][j] = fmaf(u[i].w, v[j].w, y[i][j]);
            }
    }
}

// y[i][c] += sum over BN rows k of p[row ty R + i][k] tile[k][tx + 16 c].
template <int WIDTH, int R>
__device__ __forceinline__ void add_product(float (&y)[R][WIDTH / 16], const float *p, const float *tile)
{
#pragma unroll 2
    for (int k = 0; k < BN; k += 4) {
        float4 u[R];
#pragma unroll
        for (int i = 0; i < R; i++) u[i] = *reinterpret_cast<const float4 *>(p + (ty() * R + i) * LP + k);
#pragma unroll
        for (int c = 0; c < WIDTH / 16; c++) {
            const float *v = tile + k * LD<WIDTH> + tx() + 16 * c;
            float v0 = v[0], v1 = v[LD<WIDTH>], v2 = v[2 * LD<WIDTH>], v3 = v[3 * LD<WIDTH>];
#pragma unroll
            for (int i = 0; i < R; i++)
                y[i][c] = fmaf(u[i].w, v3, fmaf(u[i].z, v2, fmaf(u[i].y, v1, fmaf(u[i].x, v0, y[i][c]))));
        }
    }
}

template <int R> __device__ __forceinline__ void store_part(float *p, const float (&y)[R][4])
{
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) p[(ty() * R + i) * LP + tx() + 16 * j] = y[i][j];
}

// Over the 16 threads that share a row.
__device__ __forceinline__ float row_sum(float v)
{
#pragma unroll
    for (int offset = 8; offset; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
    return v;
}
__device__ __forceinline__ float row_max(float v)
{
#pragma unroll
    for (int offset = 8; offset; offset /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

template <int WIDTH, int R>
__device__ __forceinline__ void store_result(const heads_of &all, const float (&y)[R][WIDTH / 16],
                                             const attention_numbers &a, int batch, int head, int first,
                                             const float (&scale)[R])
{
#pragma unroll
    for (int i = 0; i < R; i++) {
        int token = first + ty() * R + i;
        if (token >= a.tokens) continue;
        float *row = row_of_token<float>(all, batch, token, head);
#pragma unroll
        for (int c = 0; c < WIDTH / 16; c++)
            if (tx() + 16 * c < a.dim) row[tx() + 16 * c] = y[i][c] * scale[i];
    }
}

template <int WIDTH, int R> struct forward_tiles {
    static constexpr int BM = 16 * R;
    float q[BM * LD<WIDTH>], k[BN * LD<WIDTH>], v[BN * LD<WIDTH>], p[BM * LP];
};

template <int WIDTH, int R> __global__ void __launch_bounds__(THREADS) attend_f32(attention_forward f)
{
    using tiles = forward_tiles<WIDTH, R>;
    tiles &t = tiles_in_memory<tiles>();
    const attention_numbers &a = f.a;
    int head = blockIdx.y, batch = blockIdx.z, first = ((int)gridDim.x - 1 - (int)blockIdx.x) * tiles::BM;
    rows_in<float> k = rows_of_head<float>(f.k, a, batch, head / a.group),
                   v = rows_of_head<float>(f.v, a, batch, head / a.group);
    int last = first + tiles::BM < a.tokens ? first + tiles::BM : a.tokens;
    key_range starts = first_keys<THREADS>(a, batch, first, last);
    load_rows<tiles::BM, WIDTH>(t.q, rows_of_head<float>(f.q, a, batch, head), first);
    float o[R][WIDTH / 16] = {}, max[R], sum[R] = {};
    int start[R];
#pragma unroll
    for (int i = 0; i < R; i++) {
        max[i] = -INFINITY;
        start[i] = first_key(a, batch, first + ty() * R + i);
    }
    for (int at = starts.low / BN * BN; at < (a.causal ? last : a.tokens); at += BN) {
        __syncthreads();
        load_rows<BN, WIDTH>(t.k, k, at);
        load_rows<BN, WIDTH>(t.v, v, at);
        __syncthreads();
        float s[R][4];
        dots<WIDTH, R>(s, t.q, t.k);
#pragma unroll
        for (int i = 0; i < R; i++) {
            int query = first + ty() * R + i;
            float top = max[i];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int key = at + tx() + 16 * j;
                bool seen = key >= start[i] && key < a.tokens && (!a.causal || key <= query);
                s[i][j] = seen ? s[i][j] * a.scale : -INFINITY;
                top = fmaxf(top, s[i][j]);
            }
            top = row_max(top);
            float base = top == -INFINITY ? 0 : top, shrink = expf(max[i] - base), part = 0;
            max[i] = top;
#pragma unroll
            for (int j = 0; j < 4; j++) part += s[i][j] = expf(s[i][j] - base);
            sum[i] = sum[i] * shrink + part;
#pragma unroll
            for (int c = 0; c < WIDTH / 16; c++) o[i][c] *= shrink;
        }
        store_part<R>(t.p, s);
        __syncwarp(); // rows of p are made and read by one half of a warp
        add_product<WIDTH, R>(o, t.p, t.v);
    }
    float inverse[R];
#pragma unroll
    for (int i = 0; i < R; i++) {
        float whole = row_sum(sum[i]);
        int query = first + ty() * R + i;
        inverse[i] = 1 / whole;
        if (f.lse && tx() == 0 && query < a.tokens)
            f.lse[((int64_t)batch * a.heads + head) * a.tokens + query] = max[i] + logf(whole);
    }
    int64_t row = (int64_t)a.heads * a.dim; // o is contiguous
    store_result<WIDTH, R>({f.o, a.tokens * row, row, a.dim}, o, a, batch, head, first, inverse);
}

template <int WIDTH, int R> struct query_tiles {
    static constexpr int BM = 16 * R;
    float q[BM * LD<WIDTH>], dout[BM * LD<WIDTH>], k[BN * LD<WIDTH>], v[BN * LD<WIDTH>], p[BM * LP];
};

template <int WIDTH, int R> __global__ void __launch_bounds__(THREADS) grad_queries_f32(attention_backward f)
{
    using tiles = query_tiles<WIDTH, R>;
    tiles &t = tiles_in_memory<tiles>();
    const attention_numbers &a = f.a;
    int head = blockIdx.y, batch = blockIdx.z, first = ((int)gridDim.x - 1 - (int)blockIdx.x) * tiles::BM;
    rows_in<float> k = rows_of_head<float>(f.k, a, batch, head / a.group),
                   v = rows_of_head<float>(f.v, a, batch, head / a.group);
    rows_in<float> results = rows_of_head<float>(f.o, a, batch, head);
    int last = first + tiles::BM < a.tokens ? first + tiles::BM : a.tokens;
    key_range starts = first_keys<THREADS>(a, batch, first, last);
    load_rows<tiles::BM, WIDTH>(t.q, rows_of_head<float>(f.q, a, batch, head), first);
    load_rows<tiles::BM, WIDTH>(t.dout, rows_of_head<float>(f.dout, a, batch, head), first);
    __syncthreads();
    float dq[R][WIDTH / 16] = {}, lse[R], delta[R], scale[R];
    int start[R];
#pragma unroll
    for (int i = 0; i < R; i++) {
        int query = first + ty() * R + i;
        int64_t at = ((int64_t)batch * a.heads + head) * a.tokens + query;
        bool inside = query < a.tokens;
        start[i] = first_key(a, batch, query);
        lse[i] = inside ? f.lse[at] : INFINITY;
        scale[i] = a.scale;
        float sum = 0;
        for (int column = tx(); inside && column < a.dim; column += 16)
            sum += t.dout[(ty() * R + i) * LD<WIDTH> + column] * results.at[query * results.stride + column];
        delta[i] = row_sum(sum);
        if (inside && tx() == 0) f.delta[at] = delta[i];
    }
    for (int at = starts.low / BN * BN; at < (a.causal ? last : a.tokens); at += BN) {
        __syncthreads();
        load_rows<BN, WIDTH>(t.k, k, at);
        load_rows<BN, WIDTH>(t.v, v, at);
        __syncthreads();
        float s[R][4], dp[R][4];
        dots<WIDTH, R>(s, t.q, t.k);
        dots<WIDTH, R>(dp, t.dout, t.v);
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int key = at + tx() + 16 * j, query = first + ty() * R + i;
                bool seen = key >= start[i] && key < a.tokens && (!a.causal || key <= query);
                s[i][j] = seen ? expf(s[i][j] * a.scale - lse[i]) * (dp[i][j] - delta[i]) : 0;
            }
        store_part<R>(t.p, s);
        __syncwarp();
        add_product<WIDTH, R>(dq, t.p, t.k);
    }
    store_result<WIDTH, R>(f.dq, dq, a, batch, head, first, scale);
}

template <int WIDTH, int R> struct key_tiles {
    static constexpr int BM = 16 * R;
    float k[BM * LD<WIDTH>], v[BM * LD<WIDTH>], q[BN * LD<WIDTH>], dout[BN * LD<WIDTH>], p[BM * LP];
};

template <int WIDTH, int R> __global__ void __launch_bounds__(THREADS) grad_keys_f32(attention_backward f)
{
    using tiles = key_tiles<WIDTH, R>;
    tiles &t = tiles_in_memory<tiles>();
    const attention_numbers &a = f.a;
    int kv_head = blockIdx.y, batch = blockIdx.z, first = (int)blockIdx.x * tiles::BM;
    load_rows<tiles::BM, WIDTH>(t.k, rows_of_head<float>(f.k, a, batch, kv_head), first);
    load_rows<tiles::BM, WIDTH>(t.v, rows_of_head<float>(f.v, a, batch, kv_head), first);
    float dk[R][WIDTH / 16] = {}, dv[R][WIDTH / 16] = {}, scale[R], one[R];
#pragma unroll
    for (int i = 0; i < R; i++) scale[i] = a.scale, one[i] = 1;
    for (int head = kv_head * a.group; head < (kv_head + 1) * a.group; head++) {
        rows_in<float> q = rows_of_head<float>(f.q, a, batch, head), dout = rows_of_head<float>(f.dout, a, batch, head);
        for (int at = a.causal ? first / BN * BN : 0; at < a.tokens; at += BN) {
            __syncthreads();
            load_rows<BN, WIDTH>(t.q, q, at);
            load_rows<BN, WIDTH>(t.dout, dout, at);
            __syncthreads();
            float s[R][4], dp[R][4], delta[4];
            dots<WIDTH, R>(s, t.k, t.q); // keys by queries
            dots<WIDTH, R>(dp, t.v, t.dout);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int query = at + tx() + 16 * j, start = first_key(a, batch, query);
                bool inside = query < a.tokens;
                int64_t place = ((int64_t)batch * a.heads + head) * a.tokens + query;
                float lse = inside ? f.lse[place] : INFINITY;
                delta[j] = inside ? f.delta[place] : 0;
#pragma unroll
                for (int i = 0; i < R; i++) {
                    int key = first + ty() * R + i;
                    bool seen = inside && key >= start && (!a.causal || key <= query);
                    s[i][j] = seen ? expf(s[i][j] * a.scale - lse) : 0;
                }
            }
            store_part<R>(t.p, s);
            __syncwarp();
            add_product<WIDTH, R>(dv, t.p, t.dout);
#pragma unroll
            for (int i = 0; i < R; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) s[i][j] = s[i][j] != 0 ? s[i][j] * (dp[i][j] - delta[j]) : 0;
            __syncwarp();
            store_part<R>(t.p, s);
            __syncwarp();
            add_product<WIDTH, R>(dk, t.p, t.q);
        }
    }
    store_result<WIDTH, R>(f.dk, dk, a, batch, kv_head, first, scale);
    store_result<WIDTH, R>(f.dv, dv, a, batch, kv_head, first, one);
}

// Calls f with the width of tiles, and with 2 rows a thread where 4 would leave multiprocessors without work.
template <typename F> static void by_size(const attention_numbers &a, int heads, int batch, const queue *q, F f)
{
    bool small = (int64_t)((a.tokens + 63) / 64) * heads * batch < 2 * q->caps->multiprocessors;
    auto width = [&](auto w) {
        if (small)
            f(w, std::integral_constant<int, 2>());
        else
            f(w, std::integral_constant<int, 4>());
    };
    if (a.dim <= 32)
        width(std::integral_constant<int, 32>());
    else if (a.dim <= 64)
        width(std::integral_constant<int, 64>());
    else
        width(std::integral_constant<int, 128>());
}

static status launch(const step *s, queue *q)
{
    attention_forward f = attention_forward_of(s);
    int batch = (int)s->in[0].shape.dim[0];
    by_size(f.a, f.a.heads, batch, q, [&](auto width, auto rows) {
        constexpr int WIDTH = decltype(width)::value, R = decltype(rows)::value;
        launch_tiles<forward_tiles<WIDTH, R>>(attend_f32<WIDTH, R>, f, THREADS, f.a.heads, batch, q);
    });
    return INGOT_OK;
}

static status launch_grad(const step *s, queue *q)
{
    attention_backward f = attention_backward_of(s);
    int batch = (int)s->in[1].shape.dim[0];
    by_size(f.a, f.a.kv_heads, batch, q, [&](auto width, auto rows) {
        constexpr int WIDTH = decltype(width)::value, R = decltype(rows)::value;
        launch_tiles<query_tiles<WIDTH, R>>(grad_queries_f32<WIDTH, R>, f, THREADS, f.a.heads, batch, q);
        launch_tiles<key_tiles<WIDTH, R>>(grad_keys_f32<WIDTH, R>, f, THREADS, f.a.kv_heads, batch, q);
    });
    return INGOT_OK;
}

static bool match(const node *n, const device_caps *caps)
{
    return match_f32(n, caps) && attention_fits(n->in[0]->shape) && ATTRS_OF(attention_attrs, n)->scale > 0;
}

static bool match_grad(const node *n, const device_caps *caps)
{
    return match_f32(n, caps) && attention_fits(n->in[1]->shape);
}

extern "C" const kernel_def attention_f32_cuda[] = {
    {.op = &op_attention_def,
     .name = "attention.f32",
     .level = LEVEL_BEST,
     .match = match,
     .wants = ATTENTION_WANTS,
     .launch = launch,
     .error = ERROR_SUM},
    {.op = &op_attention_grad_def,
     .name = "attention_grad.f32",
     .level = LEVEL_BEST,
     .traits = KERNEL_STRIDED_OUTPUT,
     .match = match_grad,
     .wants = ATTENTION_GRAD_WANTS,
     .scratch = attention_backward_scratch,
     .launch = launch_grad,
     .error = ERROR_SUM},
    {},
};
