// Attention of token rows over a paged cache on CUDA. A block has a row, up to G heads that read one kv head, and a share of
// the row's keys; LANES threads look at one key, eight elements each. The shares are joined by a second kernel. How many
// shares there are depends on shapes only, so the bits do not depend on what else is in the batch's pages.
#include "kit/cuda/stage.h"
#include "ops/attention_rows/attention_rows_cuda.cuh"
#include "ops/attention_rows/attention_rows_stage_cuda.h"

enum { THREADS = 128, N = 8, MOST_SHARES = 32, MOST_DIM = 256 };

template <typename T>
__device__ __forceinline__ void load_row(float (&x)[N], const T *row, int column, const paged &p, bool wide)
{
    if (wide) {
        if (column < p.dim) {
            pack<T, N> v = load_pack<N>(row + column);
#pragma unroll
            for (int i = 0; i < N; i++) x[i] = to_float(v.at[i]);
            return;
        }
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = 0;
        return;
    }
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = column + i < p.dim ? to_float(row[column + i]) : 0;
}

__device__ __forceinline__ float weight_of(float max, float top)
{
    return max == -INFINITY ? 0 : expf(max - top);
}

template <typename T, int G, int LANES> __global__ void __launch_bounds__(THREADS) attend_rows(paged p)
{
    wait_for_inputs();
    constexpr int SETS = THREADS / LANES; // keys that the block looks at side by side
    __shared__ float max_of[G][SETS], sum_of[G][SETS], joined[SETS][LANES * N];
    int row = blockIdx.z, kv = (int)blockIdx.y / p.head_groups, share = blockIdx.x;
    int first_head = kv * p.group + (int)blockIdx.y % p.head_groups * G;
    int heads = (kv + 1) * p.group - first_head;
    heads = heads < G ? heads : G;
    int lane = (int)threadIdx.x % LANES, set = (int)threadIdx.x / LANES, column = lane * N;
    int sequence = p.sequence[row], keys = keys_of_row(p, row);
    int each = (keys + p.shares - 1) / p.shares, from = share * each, until = from + each < keys ? from + each : keys;

    float q[G][N], o[G][N] = {}, max[G], sum[G] = {};
#pragma unroll
    for (int g = 0; g < G; g++) {
        max[g] = -INFINITY;
        int head = g < heads ? first_head + g : first_head;
        load_row<T>(q[g], (const T *)p.q + row * p.q_row + head * p.q_head, column, p, p.q_wide);
    }
    for (int start = from; start < until; start += SETS) {
        int key = start + set;
        bool inside = key < until;
        int64_t slot = inside ? slot_of(p, sequence, key) : -1;
        float k[N] = {}, v[N] = {};
        if (slot >= 0) {
            int64_t at = (slot * p.kv_heads + kv) * p.dim;
            load_row<T>(k, (const T *)p.k + at, column, p, p.wide);
            load_row<T>(v, (const T *)p.v + at, column, p, p.wide);
        }
#pragma unroll
        for (int g = 0; g < G; g++) {
            float s = 0;
#pragma unroll
            for (int i = 0; i < N; i++) s += q[g][i] * k[i];
#pragma unroll
            for (int offset = LANES / 2; offset; offset /= 2) s += __shfl_xor_sync(0xffffffffu, s, offset);
            if (!inside) continue;
            s *= p.scale;
            float top = fmaxf(max[g], s), shrink = weight_of(max[g], top), e = expf(s - top);
            max[g] = top;
            sum[g] = sum[g] * shrink + e;
#pragma unroll
            for (int i = 0; i < N; i++) o[g][i] = o[g][i] * shrink + e * v[i];
        }
    }
    // The sets' results, joined in their order.
#pragma unroll
    for (int g = 0; g < G; g++)
        if (lane == 0) max_of[g][set] = max[g], sum_of[g][set] = sum[g];
#pragma unroll
    for (int g = 0; g < G; g++) {
        __syncthreads();
        if (g >= heads) break;
        float top = -INFINITY, whole = 0;
        for (int i = 0; i < SETS; i++) top = fmaxf(top, max_of[g][i]);
        for (int i = 0; i < SETS; i++) whole += sum_of[g][i] * weight_of(max_of[g][i], top);
        float weight = weight_of(max[g], top);
#pragma unroll
        for (int i = 0; i < N; i++) joined[set][column + i] = o[g][i] * weight;
        __syncthreads();
        int64_t head = (int64_t)row * p.heads + first_head + g;
        for (int c = threadIdx.x; c < p.dim; c += THREADS) {
            float y = 0;
            for (int i = 0; i < SETS; i++) y += joined[i][c];
            if (p.part)
                p.part[(head * p.shares + share) * (2 + p.dim) + 2 + c] = y;
            else
                ((T *)p.o)[head * p.dim + c] = to<T>(whole > 0 ? y / whole : 0);
        }
        if (p.part && threadIdx.x == 0) {
            p.part[(head * p.shares + share) * (2 + p.dim)] = top;
            p.part[(head * p.shares + share) * (2 + p.dim) + 1] = whole;
        }
    }
}

// A block for each head of each row.
template <typename T> __global__ void join_shares(paged p)
{
    const float *part = p.part + (int64_t)blockIdx.x * p.shares * (2 + p.dim);
    float top = -INFINITY, whole = 0;
    for (int i = 0; i < p.shares; i++) top = fmaxf(top, part[i * (2 + p.dim)]);
    for (int i = 0; i < p.shares; i++) whole += part[i * (2 + p.dim) + 1] * weight_of(part[i * (2 + p.dim)], top);
    for (int c = threadIdx.x; c < p.dim; c += (int)blockDim.x) {
        float y = 0;
        for (int i = 0; i < p.shares; i++) {
            float weight = weight_of(part[i * (2 + p.dim)], top);
            if (weight > 0) y += part[i * (2 + p.dim) + 2 + c] * weight;
        }
        ((T *)p.o)[(int64_t)blockIdx.x * p.dim + c] = to<T>(whole > 0 ? y / whole : 0);
    }
}

// Heads of a block: all that share a kv head, up to 8.
static int heads_together(int64_t group)
{
    return group >= 5 ? 8 : group >= 3 ? 4 : (int)group;
}

static int shares_of(shape q, shape k, shape table, int64_t page_size, const device_caps *caps)
{
    int64_t group = q.dim[1] / k.dim[1], together = heads_together(group);
    int64_t blocks = q.dim[0] * k.dim[1] * ((group + together - 1) / together), keys = table.dim[1] * page_size;
    int64_t wanted = 2 * caps->multiprocessors / blocks, most = keys / 32;
    wanted = wanted < most ? wanted : most;
    return (int)(wanted < 1 ? 1 : wanted > MOST_SHARES ? MOST_SHARES : wanted);
}

template <typename T, int G> static void launch_lanes(const paged &p, queue *q)
{
    dim3 grid((unsigned)p.shares, (unsigned)(p.kv_heads * p.head_groups), (unsigned)p.rows);
    if (p.dim <= 32)
        attend_rows<T, G, 4><<<grid, THREADS, 0, q->stream>>>(p);
    else if (p.dim <= 64)
        attend_rows<T, G, 8><<<grid, THREADS, 0, q->stream>>>(p);
    else if (p.dim <= 128)
        attend_rows<T, G, 16><<<grid, THREADS, 0, q->stream>>>(p);
    else
        attend_rows<T, G, 32><<<grid, THREADS, 0, q->stream>>>(p);
}

static status launch(const step *s, queue *q)
{
    paged p = paged_of(s);
    int together = heads_together(p.group);
    p.head_groups = (p.group + together - 1) / together;
    p.shares =
        shares_of(s->in[ROWS_Q].shape, s->in[ROWS_K_POOL].shape, s->in[ROWS_BLOCK_TABLE].shape, p.page_size, q->caps);
    p.part = p.shares > 1 ? (float *)s->scratch : nullptr;
    by_dtype(s->in[ROWS_Q].dtype, [&](auto t) {
        using T = decltype(t);
        if (together == 1)
            launch_lanes<T, 1>(p, q);
        else if (together == 2)
            launch_lanes<T, 2>(p, q);
        else if (together == 4)
            launch_lanes<T, 4>(p, q);
        else
            launch_lanes<T, 8>(p, q);
        if (p.part) join_shares<T><<<(unsigned)(p.rows * p.heads), p.dim <= 64 ? 64 : 128, 0, q->stream>>>(p);
    });
    return INGOT_OK;
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    shape q = n->in[ROWS_Q]->shape;
    int64_t shares = shares_of(q, n->in[ROWS_K_POOL]->shape, n->in[ROWS_BLOCK_TABLE]->shape,
                               ATTRS_OF(attention_rows_attrs, n)->page_size, caps);
    return shares > 1 ? q.dim[0] * q.dim[1] * shares * (2 + q.dim[2]) * (int64_t)sizeof(float) : 0;
}

static bool match(const node *n, const device_caps *)
{
    shape q = n->in[ROWS_Q]->shape, table = n->in[ROWS_BLOCK_TABLE]->shape;
    ingot_dtype d = n->in[ROWS_Q]->dtype;
    return cuda_float(d) && n->in[ROWS_K_POOL]->dtype == d && n->in[ROWS_V_POOL]->dtype == d && q.dim[0] <= 65535 &&
           q.dim[1] <= 65535 && q.dim[2] <= MOST_DIM &&
           table.dim[1] * ATTRS_OF(attention_rows_attrs, n)->page_size < 1 << 30;
}

static void number_stage(const step *s, const device_caps *caps, stage *to)
{
    paged_shape a = paged_shape_of(s);
    to->number[ATTEND_HEADS] = (int32_t)a.heads, to->number[ATTEND_KV_HEADS] = (int32_t)a.kv_heads;
    to->number[ATTEND_DIM] = (int32_t)a.dim, to->number[ATTEND_PAGE] = (int32_t)a.page_size;
    to->number[ATTEND_PAGES] = (int32_t)a.pages, to->number[ATTEND_SEQUENCES] = (int32_t)a.sequences;
    to->number[ATTEND_POOL] = (int32_t)a.pool;
    int shares =
        shares_of(s->in[ROWS_Q].shape, s->in[ROWS_K_POOL].shape, s->in[ROWS_BLOCK_TABLE].shape, a.page_size, caps);
    to->number[ATTEND_SHARES] = shares < ATTEND_MOST_SHARES ? shares : ATTEND_MOST_SHARES;
    to->number[ATTEND_GROUP] = (int32_t)a.group;
    to->number[ATTEND_LANES] = a.dim <= 32 ? 4 : a.dim <= 64 ? 8 : a.dim <= 128 ? 16 : 32;
    to->scale = a.scale;
}

static bool stage_of(const step *s, const device_caps *caps, stage_offer *o)
{
    paged_shape a = paged_shape_of(s);
    if (s->in[ROWS_Q].stride[1] != a.dim) return false; // heads side by side
    if (a.rows != 1 || a.dim % 8 || a.heads * a.dim > INT16_MAX || a.pool > INT32_MAX || a.sequences > INT16_MAX)
        return false;
    o->stage.kind = STAGE_ATTEND;
    o->dtype = s->in[ROWS_Q].dtype;
    o->stage.inputs = 6, o->stage.outputs = 1;
    o->stage.count = (int32_t)(a.heads * a.dim);
    number_stage(s, caps, &o->stage);
    o->stage.operand[ATTEND_PARTS].at = s->scratch;
    o->own_row[ROWS_K_POOL] = ATTEND_OWN_K, o->own_row[ROWS_V_POOL] = ATTEND_OWN_V, o->own_slot = ATTEND_OWN_SLOT;
    o->stage.counters = ATTEND_ARRIVED, o->counted = (int)a.heads;
    return true;
}

extern "C" const kernel_def attention_rows_cuda[] = {
    {.op = &op_attention_rows_def,
     .name = "attention_rows.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match,
     .wants = {STORAGE_LAST_CONTIGUOUS},
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM,
     .stage = stage_of},
    {},
};
