// Attention of many token rows of few sequences over a paged cache on CUDA, as a prompt is read: in tiles on the tensor cores
// (Dao 2023), keys and values taken through the block table. A block has 64 rows of one head; rows that follow each other
// in one sequence walk over its keys together, and those of the next sequence after them.
#include "kit/cuda/flash.cuh"
#include "ops/attention_rows/attention_rows_cuda.cuh"

enum { WARPS = 4, THREADS = WARPS * 32, BM = WARPS * 16, BN = 64, ROWS_A_SEQUENCE = 16 };

template <typename T, int WIDTH> struct prompt_tiles {
    T q[BM * WIDTH], k[2][BN * WIDTH], v[2][BN * WIDTH];
    int sequence[BM], keys[BM]; // of the rows; keys 0 where there is none
};

// Keys [first, first + BN) of a sequence and their values into tiles; zeros from `count` on and where a key lies nowhere.
template <int WIDTH, typename T>
__device__ __forceinline__ void load_keys(T *k, T *v, const paged &p, int kv_head, int sequence, int first, int count)
{
    constexpr int CHUNKS = WIDTH / 8;
#pragma unroll
    for (int i = 0; i < BN * CHUNKS / THREADS; i++) {
        int item = i * THREADS + (int)threadIdx.x, row = item / CHUNKS, chunk = item % CHUNKS;
        int64_t slot = first + row < count ? slot_of(p, sequence, first + row) : -1;
        bool inside = slot >= 0 && chunk * 8 < p.dim;
        int64_t at = inside ? (slot * p.kv_heads + kv_head) * p.dim + chunk * 8 : 0;
        int to_tile = tile_at<WIDTH>(row, chunk);
        cp_async_16(k + to_tile, (const T *)p.k + at, inside);
        cp_async_16(v + to_tile, (const T *)p.v + at, inside);
    }
}

template <typename T, int WIDTH, int BLOCKS> __global__ void __launch_bounds__(THREADS, BLOCKS) attend_prompt(paged p)
{
    using multiply = by_warps<1>;
    extern __shared__ __align__(128) unsigned char memory[];
    auto &t = *reinterpret_cast<prompt_tiles<T, WIDTH> *>(memory);
    int head = blockIdx.y, lane = threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16;
    int first = ((int)gridDim.x - 1 - (int)blockIdx.x) * BM; // long rows first, mostly
    rows_in<T> q = {(const T *)p.q + head * p.q_head, p.q_row, p.rows, p.dim, p.q_wide};
    load_tile<BM, WIDTH, THREADS>(t.q, q, first);
    cp_async_commit();
    for (int i = threadIdx.x; i < BM; i += THREADS) {
        bool inside = first + i < p.rows;
        t.sequence[i] = inside ? p.sequence[first + i] : -1;
        t.keys[i] = inside ? keys_of_row(p, first + i) : 0;
    }
    __syncthreads();

    attended<WIDTH, 1> r;
    float c = p.scale * LOG2_E;
    for (int begin = 0, end; begin < BM; begin = end) {
        int sequence = t.sequence[begin], most = 0, least = 0x7fffffff, here = 0;
        for (end = begin; end < BM && t.sequence[end] == sequence; end++) {
            most = max(most, t.keys[end]);
            if (end >= row && end < row + 16) least = min(least, t.keys[end]), here++;
        }
        int seen_by[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int mine = row + lane / 4 + h * 8;
            seen_by[h] = mine >= begin && mine < end ? t.keys[mine] : 0;
        }
        if (most > 0) load_keys<WIDTH>(t.k[0], t.v[0], p, head / p.group, sequence, 0, most);
        cp_async_commit();
        for (int at = 0, turn = 0; at < most; at += BN, turn ^= 1) {
            cp_async_wait<0>();
            __syncthreads();
            if (at + BN < most)
                load_keys<WIDTH>(t.k[turn ^ 1], t.v[turn ^ 1], p, head / p.group, sequence, at + BN, most);
            cp_async_commit();
            if (here == 0) continue; // no row of this warp is of this sequence
            float s[1][BN / 8][4];
            multiply::rows<WIDTH, BN, BM>(s, t.q, row, t.k[turn]);
            if (here < 16 || at + BN > least)
#pragma unroll
                for (int j = 0; j < BN / 8; j++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        if (at + j * 8 + lane % 4 * 2 + i % 2 >= seen_by[i / 2]) s[0][j][i] = -INFINITY;
            attend_keys<multiply, WIDTH, BN>(r, s, t.v[turn], c);
        }
        __syncthreads(); // before the next sequence's first tile overwrites what others still read
    }
    cp_async_wait<0>();
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float whole = quad_sum(r.sum[0][h]);
        int64_t mine = first + row + lane / 4 + h * 8;
        if (mine < p.rows)
            store_row<T, WIDTH>((T *)p.o + (mine * p.heads + head) * p.dim, r.o[0], h, p.dim,
                                whole > 0 ? 1 / whole : 0);
    }
}

template <typename T, int WIDTH, int BLOCKS> static void launch_width(const paged &p, queue *q)
{
    constexpr int BYTES = (int)sizeof(prompt_tiles<T, WIDTH>);
    static_assert(BYTES <= 227 * 1024);
    auto kernel = attend_prompt<T, WIDTH, BLOCKS>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    kernel<<<dim3((unsigned)((p.rows + BM - 1) / BM), (unsigned)p.heads), THREADS, BYTES, q->stream>>>(p);
}

template <typename T> static void launch_type(const paged &p, queue *q)
{
    if (p.dim <= 32)
        launch_width<T, 32, 3>(p, q);
    else if (p.dim <= 64)
        launch_width<T, 64, 3>(p, q);
    else
        launch_width<T, 128, 2>(p, q);
}

status prompt_rows_by_warps(const step *s, queue *q)
{
    paged p = paged_of(s);
    if (s->in[ROWS_Q].dtype == INGOT_BF16)
        launch_type<bf16>(p, q);
    else
        launch_type<f16>(p, q);
    return INGOT_OK;
}

// Where there are many rows for each sequence that the table could hold: rows of a batch that is decoded are one each.
bool prompt_rows_match(const node *n, const device_caps *caps)
{
    shape q = n->in[ROWS_Q]->shape, table = n->in[ROWS_BLOCK_TABLE]->shape;
    const attention_rows_attrs *a = ATTRS_OF(attention_rows_attrs, n);
    ingot_dtype d = n->in[ROWS_Q]->dtype;
    return caps->major >= 8 && (d == INGOT_BF16 || d == INGOT_F16) && n->in[ROWS_K_POOL]->dtype == d &&
           n->in[ROWS_V_POOL]->dtype == d && q.dim[2] % 8 == 0 && q.dim[2] <= 128 && q.dim[1] <= 65535 &&
           q.dim[0] < 1 << 30 && q.dim[0] >= 2 * ROWS_A_SEQUENCE && q.dim[0] >= ROWS_A_SEQUENCE * table.dim[0] &&
           table.dim[1] * a->page_size < 1 << 30 && a->scale > 0;
}

extern "C" const kernel_def prompt_rows_cuda[] = {
    {.op = &op_attention_rows_def,
     .name = "attention_rows.mma",
     .level = LEVEL_BEST,
     .match = prompt_rows_match,
     .wants = {STORAGE_LAST_CONTIGUOUS},
     .launch = prompt_rows_by_warps,
     .error = ERROR_SUM},
    {},
};
