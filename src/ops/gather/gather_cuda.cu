// Rows by id on CUDA. Rows with one id are added in the order of their places, so the bits are the same each run, without
// float atomics: (id, place) are sorted, which needs the ids only and is done ahead of the rows, and each run of one id is
// added up. Overwriting rows leaves the last.
#include "kit/cuda/stage.h"
#include "kit/cuda/values.cuh"
#include "ops/table.h"

#include <cub/device/device_radix_sort.cuh>

static bool match_ids(const node *n, const device_caps *)
{
    return n->in[1]->dtype == INGOT_I32;
}

static int64_t row_elements(shape table)
{
    return shape_count(table) / table.dim[0];
}

// `row` pieces of sizeof(T) bytes a row.
template <typename T>
__global__ void gather_rows(T *y, const T *table, const int32_t *ids, int64_t rows, uint32_t row, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) {
        int64_t at = i / row;
        int32_t id = ids[at];
        y[i] = id < 0 || id >= rows ? T{} : table[id * (int64_t)row + (i - at * row)];
    }
}

template <typename T> static void launch_gather(const step *s, queue *q, int64_t row_bytes)
{
    int64_t row = row_bytes / (int64_t)sizeof(T), n = shape_count(s->in[1].shape) * row;
    gather_rows<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((T *)s->out[0].data, (const T *)s->in[0].data,
                                                                (const int32_t *)s->in[1].data, s->in[0].shape.dim[0],
                                                                (uint32_t)row, n);
}

static status gather(const step *s, queue *q)
{
    int64_t bytes = row_elements(s->in[0].shape) * ingot_dtype_bytes(s->in[0].dtype);
    if (bytes % 16 == 0)
        launch_gather<uint4>(s, q, bytes);
    else if (bytes % 4 == 0)
        launch_gather<uint32_t>(s, q, bytes);
    else if (bytes % 2 == 0)
        launch_gather<uint16_t>(s, q, bytes);
    else
        launch_gather<uint8_t>(s, q, bytes);
    return INGOT_OK;
}

// A block for each place, which is silent where a later place has its id.
template <typename T> __global__ void overwrite_rows(T *y, const T *x, const int32_t *ids, int64_t rows, int row, int n)
{
    int at = blockIdx.x;
    int32_t id = ids[at];
    bool later = id < 0 || id >= rows;
    for (int i = at + 1 + (int)threadIdx.x; i < n; i += (int)blockDim.x) later |= ids[i] == id;
    if (__syncthreads_or(later)) return;
    for (int c = threadIdx.x; c < row; c += (int)blockDim.x) y[(int64_t)id * row + c] = x[(int64_t)at * row + c];
}

// Where the elements of rows lie that are parts of longer ones: keys and values of one product.
struct row_places {
    int64_t rank, dim[INGOT_MAX_RANK], stride[INGOT_MAX_RANK], length, inner;
};

static __device__ __forceinline__ int64_t place_of(const row_places &l, int64_t element)
{
    int64_t run = element / l.length, at = (element - run * l.length) * l.inner;
    for (int64_t axis = l.rank - 1; axis >= 0; axis--) {
        at += run % l.dim[axis] * l.stride[axis];
        run /= l.dim[axis];
    }
    return at;
}

template <typename T>
__global__ void overwrite_from(T *y, const T *x, row_places l, const int32_t *ids, int64_t rows, int row, int n)
{
    int at = blockIdx.x;
    int32_t id = ids[at];
    bool later = id < 0 || id >= rows;
    for (int i = at + 1 + (int)threadIdx.x; i < n; i += (int)blockDim.x) later |= ids[i] == id;
    if (__syncthreads_or(later)) return;
    for (int c = threadIdx.x; c < row; c += (int)blockDim.x)
        y[(int64_t)id * row + c] = x[place_of(l, (int64_t)at * row + c)];
}

// ---- ids in order ----

enum { NOWHERE = -1, FEW_IDS = 4096, ORDER_THREADS = 256 };

__device__ __forceinline__ uint32_t key_of(int32_t id, int64_t rows)
{
    return id < 0 || id >= rows ? (uint32_t)NOWHERE : (uint32_t)id;
}

// Of few ids: a warp for each place counts what stands before it.
__global__ void __launch_bounds__(ORDER_THREADS)
    order_places(uint32_t *keys, int32_t *places, const int32_t *ids, int64_t rows, int n)
{
    wait_for_inputs();
    int place = (int)((blockIdx.x * ORDER_THREADS + threadIdx.x) / 32), before = 0;
    if (place >= n) return;
    uint32_t key = key_of(ids[place], rows);
#pragma unroll 4
    for (int i = (int)threadIdx.x % 32; i < n; i += 32) {
        uint32_t other = key_of(ids[i], rows);
        before += other < key || (other == key && i < place);
    }
    for (int offset = 16; offset; offset /= 2) before += __shfl_xor_sync(0xffffffffu, before, offset);
    if (threadIdx.x % 32) return;
    keys[before] = key;
    places[before] = place;
}

__global__ void number_places(uint32_t *keys, int32_t *places, const int32_t *ids, int64_t rows, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) {
        keys[i] = key_of(ids[i], rows);
        places[i] = (int32_t)i;
    }
}

// x, once for each sorted place that begins a run of one id: threadIdx.y. Threads in x are columns, in packs.
template <typename X, int N>
__global__ void add_runs(float *y, const X *x, const uint32_t *keys, const int32_t *places, int packs, int64_t n)
{
    constexpr int LOADS = 4; // of the run that are under way
    wait_for_inputs();
    for (int64_t i = blockIdx.x * (int64_t)blockDim.y + threadIdx.y; i < n; i += gridDim.x * (int64_t)blockDim.y) {
        uint32_t id = keys[i];
        if (id == (uint32_t)NOWHERE || (i > 0 && keys[i - 1] == id)) continue;
        for (int c = threadIdx.x; c < packs; c += (int)blockDim.x) {
            float *to = y + (id * (int64_t)packs + c) * N;
            pack<float, N> sum = load_pack<N>(to);
            bool more = true;
            for (int64_t k = i; more; k += LOADS) {
                pack<X, N> row[LOADS];
                bool take[LOADS];
#pragma unroll
                for (int j = 0; j < LOADS; j++) {
                    take[j] = k + j < n && keys[k + j] == id; // all of a run stand together
                    if (take[j]) row[j] = load_pack<N>(x + (places[k + j] * (int64_t)packs + c) * N);
                }
#pragma unroll
                for (int j = 0; j < LOADS; j++)
#pragma unroll
                    for (int lane = 0; take[j] && lane < N; lane++) sum.at[lane] += to_float(row[j].at[lane]);
                more = take[LOADS - 1];
            }
            store_pack<N>(to, sum);
        }
    }
}

__global__ void copy_base(float *y, const float *base, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) y[i] = base[i];
}

// The last place of a run of one id writes its row: what an id holds does not depend on which thread was last.
template <typename T>
__global__ void write_last(T *y, const T *x, const uint32_t *keys, const int32_t *places, int64_t row, int64_t n)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        uint32_t id = keys[i];
        if (id == (uint32_t)NOWHERE || (i + 1 < n && keys[i + 1] == id)) continue;
        for (int64_t c = threadIdx.x; c < row; c += blockDim.x) y[id * row + c] = x[places[i] * row + c];
    }
}

template <typename T>
__global__ void write_last_from(T *y, const T *x, row_places l, const uint32_t *keys, const int32_t *places,
                                int64_t row, int64_t n)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        uint32_t id = keys[i];
        if (id == (uint32_t)NOWHERE || (i + 1 < n && keys[i + 1] == id)) continue;
        for (int64_t c = threadIdx.x; c < row; c += blockDim.x) y[id * row + c] = x[place_of(l, places[i] * row + c)];
    }
}

static size_t sort_bytes(int64_t n)
{
    size_t bytes = 0;
    cub::DeviceRadixSort::SortPairs(nullptr, bytes, (const uint32_t *)nullptr, (uint32_t *)nullptr,
                                    (const int32_t *)nullptr, (int32_t *)nullptr, (int)n);
    return bytes;
}

static int64_t sort_scratch(int64_t ids)
{
    return 4 * ids * 4 + 256 + (int64_t)sort_bytes(ids);
}

static int64_t add_scratch(const node *n, const device_caps *)
{
    int64_t ids = shape_count(n->in[1]->shape);
    return ids <= FEW_IDS ? 2 * ids * 4 : sort_scratch(ids);
}

static int64_t overwrite_scratch(const node *n, const device_caps *)
{
    int64_t ids = shape_count(n->in[1]->shape);
    return ids <= FEW_IDS ? 0 : sort_scratch(ids);
}

static void copy_old_rows(const step *s, queue *q)
{
    if (s->in[0].data != s->out[0].data)
        cudaMemcpyAsync(s->out[0].data, s->in[0].data,
                        (size_t)(shape_count(s->out[0].shape) * ingot_dtype_bytes(s->out[0].dtype)),
                        cudaMemcpyDeviceToDevice, q->stream);
}

struct sorted_ids {
    const uint32_t *keys;
    const int32_t *places;
    int64_t n, row;
    unsigned blocks, threads;
};

static sorted_ids sort_ids(const step *s, queue *q)
{
    int64_t n = shape_count(s->in[1].shape), row = row_elements(s->out[0].shape);
    uint32_t *keys = (uint32_t *)s->scratch, *sorted = keys + n;
    int32_t *places = (int32_t *)(sorted + n), *sorted_places = places + n;
    void *temporary = (char *)s->scratch + (16 * n + 255) / 256 * 256;
    size_t bytes = sort_bytes(n);
    number_places<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>(keys, places, (const int32_t *)s->in[1].data,
                                                                  s->out[0].shape.dim[0], n);
    cub::DeviceRadixSort::SortPairs(temporary, bytes, keys, sorted, places, sorted_places, (int)n, 0, 32, q->stream);
    return {sorted,
            sorted_places,
            n,
            row,
            (unsigned)(n < 65535 ? n : 65535),
            row < 32 ? 32u : row < 256 ? (unsigned)row : 256u};
}

static sorted_ids order_ids(const step *s, queue *q)
{
    int64_t n = shape_count(s->in[1].shape);
    if (n > FEW_IDS) return sort_ids(s, q);
    uint32_t *keys = (uint32_t *)s->scratch;
    int32_t *places = (int32_t *)(keys + n);
    order_places<<<cuda_blocks(n * 32), ORDER_THREADS, 0, q->stream>>>(keys, places, (const int32_t *)s->in[1].data,
                                                                       s->out[0].shape.dim[0], (int)n);
    return {.keys = keys, .places = places, .n = n};
}

// N elements at once.
template <typename X, int N> static void add(const step *s, const sorted_ids &ids, queue *q)
{
    int64_t packs = row_elements(s->out[0].shape) / N, blocks;
    dim3 threads(packs > 64 ? 128 : packs > 32 ? 64 : 32, packs > 64 ? 1 : packs > 32 ? 2 : 4);
    blocks = (ids.n + threads.y - 1) / threads.y;
    add_runs<X, N><<<(unsigned)(blocks < 65535 ? blocks : 65535), threads, 0, q->stream>>>(
        (float *)s->out[0].data, (const X *)s->in[2].data, ids.keys, ids.places, (int)packs, ids.n);
}

static status scatter_add(const step *s, queue *q)
{
    int64_t row = row_elements(s->out[0].shape);
    queue_ahead(q, 1u << 1);
    sorted_ids ids = order_ids(s, q);
    queue_ahead_done(q);
    if (s->in[0].data != s->out[0].data) {
        int64_t n = shape_count(s->out[0].shape);
        copy_base<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>((float *)s->out[0].data, (const float *)s->in[0].data,
                                                                  n);
    }
    by_dtype(s->in[2].dtype, [&](auto t) {
        using X = decltype(t);
        if (row % WIDE<X> == 0 && s->out[0].byte_offset % 16 == 0 && s->in[2].byte_offset % 16 == 0)
            add<X, WIDE<X>>(s, ids, q);
        else
            add<X, 1>(s, ids, q);
    });
    return INGOT_OK;
}

template <typename T> static void overwrite(const step *s, queue *q)
{
    int64_t ids = shape_count(s->in[1].shape), row = row_elements(s->out[0].shape);
    T *y = (T *)s->out[0].data;
    const T *x = (const T *)s->in[2].data;
    copy_old_rows(s, q);
    if (ids <= FEW_IDS) {
        const int32_t *id = (const int32_t *)s->in[1].data;
        unsigned threads = row < 256 ? 64 : 256;
        overwrite_rows<T>
            <<<(unsigned)ids, threads, 0, q->stream>>>(y, x, id, s->out[0].shape.dim[0], (int)row, (int)ids);
        return;
    }
    sorted_ids i = sort_ids(s, q);
    write_last<<<i.blocks, i.threads, 0, q->stream>>>(y, x, i.keys, i.places, i.row, i.n);
}

// Of rows that lie anyhow, in pieces of sizeof(T) bytes, `each` elements.
template <typename T> static void overwrite_strided(const step *s, const strided_loop &of, int each, queue *q)
{
    int64_t ids = shape_count(s->in[1].shape), row = row_elements(s->out[0].shape) / each;
    T *y = (T *)s->out[0].data;
    const T *x = (const T *)s->in[2].data;
    row_places l = {.rank = of.rank, .length = of.length / each, .inner = of.inner[0]};
    for (int64_t i = 0; i < of.rank; i++) l.dim[i] = of.dim[i], l.stride[i] = of.stride[0][i] / each;
    copy_old_rows(s, q);
    if (ids <= FEW_IDS) {
        unsigned threads = row < 33 ? 32 : row < 256 ? 64 : 256;
        overwrite_from<T><<<(unsigned)ids, threads, 0, q->stream>>>(y, x, l, (const int32_t *)s->in[1].data,
                                                                    s->out[0].shape.dim[0], (int)row, (int)ids);
        return;
    }
    sorted_ids i = sort_ids(s, q);
    write_last_from<T><<<i.blocks, i.threads, 0, q->stream>>>(y, x, l, i.keys, i.places, row, i.n);
}

// Whether 16 bytes begin evenly wherever a row or a part of it does.
static bool in_packs(const step *s, const strided_loop &of, int64_t size)
{
    bool even = of.inner[0] == 1 && of.length * size % 16 == 0 && s->in[2].byte_offset % 16 == 0 &&
                row_elements(s->out[0].shape) * size % 16 == 0 && s->out[0].byte_offset % 16 == 0;
    for (int64_t i = 0; i < of.rank; i++) even = even && of.stride[0][i] * size % 16 == 0;
    return even;
}

static bool one_by_one(const tensor *t)
{
    layout l = {};
    for (int i = 0; i < INGOT_MAX_RANK; i++) l.stride[i] = t->stride[i];
    return layout_is_contiguous(t->shape, &l);
}

static status scatter_rows(const step *s, queue *q)
{
    if (!one_by_one(&s->in[2])) {
        const tensor *rows[] = {&s->in[2]};
        strided_loop of = strided_make(&s->in[2].shape, rows, 1);
        int64_t size = ingot_dtype_bytes(s->out[0].dtype);
        if (in_packs(s, of, size))
            overwrite_strided<uint4>(s, of, (int)(16 / size), q);
        else if (size == 4)
            overwrite_strided<uint32_t>(s, of, 1, q);
        else
            overwrite_strided<uint16_t>(s, of, 1, q);
        return INGOT_OK;
    }
    if (ingot_dtype_bytes(s->out[0].dtype) == 4)
        overwrite<uint32_t>(s, q);
    else
        overwrite<uint16_t>(s, q);
    return INGOT_OK;
}

static bool match_add(const node *n, const device_caps *caps)
{
    return match_ids(n, caps) && n->in[0]->dtype == INGOT_F32 && cuda_float(n->in[2]->dtype) &&
           n->out[0]->dtype == INGOT_F32 && row_elements(n->in[0]->shape) <= INT32_MAX;
}

static bool match_overwrite(const node *n, const device_caps *caps)
{
    int64_t size = ingot_dtype_bytes(n->in[0]->dtype);
    return match_ids(n, caps) && (size == 2 || size == 4) && row_elements(n->in[0]->shape) < INT32_MAX;
}

static bool gather_stage(const step *s, const device_caps *, stage_offer *o)
{
    int64_t rows = s->in[0].shape.dim[0], row = row_elements(s->in[0].shape);
    if (shape_count(s->in[1].shape) != 1 || !cuda_float(s->in[0].dtype) || rows > INT32_MAX || row > INT32_MAX)
        return false;
    o->stage.kind = STAGE_GATHER;
    o->stage.inputs = 2, o->stage.outputs = 1;
    o->stage.count = (int32_t)row;
    o->stage.number[0] = (int32_t)rows;
    o->dtype = s->in[0].dtype;
    o->spread = STAGE_SLICED;
    return true;
}

// In place only: the pool's other rows stay.
static bool scatter_stage(const step *s, const device_caps *, stage_offer *o)
{
    int64_t rows = s->in[0].shape.dim[0], row = row_elements(s->in[0].shape);
    if (shape_count(s->in[1].shape) != 1 || s->in[0].data != s->out[0].data || !cuda_float(s->in[0].dtype) ||
        rows > INT32_MAX || row > INT32_MAX || !one_by_one(&s->in[2]) || s->in[2].byte_offset % 16)
        return false;
    o->stage.kind = STAGE_SCATTER;
    o->stage.inputs = 3;
    o->stage.count = (int32_t)row;
    o->stage.number[0] = (int32_t)rows;
    o->dtype = s->in[0].dtype;
    o->in_place = true;
    return true;
}

extern "C" const kernel_def gather_cuda[] = {
    {.op = &op_gather_def,
     .name = "gather.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match_ids,
     .launch = gather,
     .stage = gather_stage},
    {.op = &op_scatter_add_def,
     .name = "scatter_add.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match_add,
     .scratch = add_scratch,
     .launch = scatter_add,
     .error = ERROR_SUM},
    {.op = &op_scatter_rows_def,
     .name = "scatter_rows.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match_overwrite,
     .wants = {STORAGE_CONTIGUOUS, STORAGE_CONTIGUOUS, STORAGE_STRIDED},
     .scratch = overwrite_scratch,
     .launch = scatter_rows,
     .stage = scatter_stage},
    {},
};
