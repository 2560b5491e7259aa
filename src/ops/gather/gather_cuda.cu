// Rows by id on CUDA. Rows with one id are added in the order of their places, so the bits are the same each run, without
// float atomics: where few ids meet few rows of the table, each row of the table looks through all ids; else (id, place)
// are sorted, and each run of one id is added up. Overwriting rows leaves the last.
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

// ---- few ids: every row of the table looks through them ----

enum { SCAN_THREADS = 128, SCAN_COLUMNS = 8, MOST_LOOKS = 1 << 26 };

static bool few(shape table, int64_t ids)
{
    return row_elements(table) <= SCAN_THREADS * SCAN_COLUMNS && table.dim[0] * ids <= MOST_LOOKS;
}

// A block for each row of the table: base's row, and in the order of their places the rows whose id it is. Threads look at
// a page of ids at once.
template <typename T>
__global__ void __launch_bounds__(SCAN_THREADS)
    add_by_scan(T *y, const T *base, const T *rows, const int32_t *ids, int row, int n)
{
    constexpr int WARPS = SCAN_THREADS / 32, LOOKS = 8;
    __shared__ unsigned found[LOOKS][WARPS];
    wait_for_inputs();
    int64_t id = blockIdx.x;
    float sum[SCAN_COLUMNS] = {};
#pragma unroll
    for (int k = 0; k < SCAN_COLUMNS; k++) {
        int column = threadIdx.x + k * SCAN_THREADS;
        if (column < row) sum[k] = to_float(base[id * row + column]);
    }
    for (int first = 0; first < n; first += LOOKS * SCAN_THREADS) {
        bool hit[LOOKS], any = false;
#pragma unroll
        for (int i = 0; i < LOOKS; i++) {
            int at = first + i * SCAN_THREADS + (int)threadIdx.x;
            hit[i] = at < n && ids[at] == id;
            any |= hit[i];
        }
        if (!__syncthreads_or(any)) continue;
#pragma unroll
        for (int i = 0; i < LOOKS; i++) {
            unsigned hits = __ballot_sync(0xffffffffu, hit[i]);
            if (threadIdx.x % 32 == 0) found[i][threadIdx.x / 32] = hits;
        }
        __syncthreads();
        for (int i = 0; i < LOOKS * WARPS; i++)
            for (unsigned left = found[i / WARPS][i % WARPS]; left; left &= left - 1) {
                int64_t place = first + i * 32 + __ffs((int)left) - 1;
#pragma unroll
                for (int k = 0; k < SCAN_COLUMNS; k++) {
                    int column = threadIdx.x + k * SCAN_THREADS;
                    if (column < row) sum[k] += to_float(rows[place * row + column]);
                }
            }
        __syncthreads();
    }
#pragma unroll
    for (int k = 0; k < SCAN_COLUMNS; k++) {
        int column = threadIdx.x + k * SCAN_THREADS;
        if (column < row) y[id * row + column] = to<T>(sum[k]);
    }
}

enum { MOST_OVERWRITTEN = 4096 };

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

// ---- many ids: sorted ----

__global__ void number_places(uint32_t *keys, int32_t *places, const int32_t *ids, int64_t rows, int64_t n)
{
    wait_for_inputs();
    for (CUDA_EACH(i, n)) {
        keys[i] = ids[i] < 0 || ids[i] >= rows ? 0xffffffffu : (uint32_t)ids[i];
        places[i] = (int32_t)i;
    }
}

// A block for each sorted place that begins a run of one id; its threads are columns.
template <typename T>
__global__ void add_runs(T *y, const T *x, const uint32_t *keys, const int32_t *places, int64_t row, int64_t n)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        uint32_t id = keys[i];
        if (id == 0xffffffffu || (i > 0 && keys[i - 1] == id)) continue;
        for (int64_t c = threadIdx.x; c < row; c += blockDim.x) {
            float sum = to_float(y[id * row + c]);
            for (int64_t k = i; k < n && keys[k] == id; k++) sum += to_float(x[places[k] * row + c]);
            y[id * row + c] = to<T>(sum);
        }
    }
}

// The last place of a run of one id writes its row: what an id holds does not depend on which thread was last.
template <typename T>
__global__ void write_last(T *y, const T *x, const uint32_t *keys, const int32_t *places, int64_t row, int64_t n)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        uint32_t id = keys[i];
        if (id == 0xffffffffu || (i + 1 < n && keys[i + 1] == id)) continue;
        for (int64_t c = threadIdx.x; c < row; c += blockDim.x) y[id * row + c] = x[places[i] * row + c];
    }
}

template <typename T>
__global__ void write_last_from(T *y, const T *x, row_places l, const uint32_t *keys, const int32_t *places,
                                int64_t row, int64_t n)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        uint32_t id = keys[i];
        if (id == 0xffffffffu || (i + 1 < n && keys[i + 1] == id)) continue;
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
    return few(n->in[0]->shape, ids) ? 0 : sort_scratch(ids);
}

static int64_t overwrite_scratch(const node *n, const device_caps *)
{
    int64_t ids = shape_count(n->in[1]->shape);
    return ids <= MOST_OVERWRITTEN ? 0 : sort_scratch(ids);
}

static void copy_base(const step *s, queue *q)
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

static status scatter_add(const step *s, queue *q)
{
    int64_t ids = shape_count(s->in[1].shape), row = row_elements(s->out[0].shape);
    by_dtype(s->out[0].dtype, [&](auto t) {
        using T = decltype(t);
        T *y = (T *)s->out[0].data;
        const T *rows = (const T *)s->in[2].data;
        if (few(s->out[0].shape, ids)) {
            add_by_scan<<<(unsigned)s->out[0].shape.dim[0], SCAN_THREADS, 0, q->stream>>>(
                y, (const T *)s->in[0].data, rows, (const int32_t *)s->in[1].data, (int)row, (int)ids);
            return;
        }
        sorted_ids i = sort_ids(s, q); // first: its kernel waits for all of the step's inputs
        copy_base(s, q);
        add_runs<<<i.blocks, i.threads, 0, q->stream>>>(y, rows, i.keys, i.places, i.row, i.n);
    });
    return INGOT_OK;
}

template <typename T> static void overwrite(const step *s, queue *q)
{
    int64_t ids = shape_count(s->in[1].shape), row = row_elements(s->out[0].shape);
    T *y = (T *)s->out[0].data;
    const T *x = (const T *)s->in[2].data;
    copy_base(s, q);
    if (ids <= MOST_OVERWRITTEN) {
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
    copy_base(s, q);
    if (ids <= MOST_OVERWRITTEN) {
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
    return match_ids(n, caps) && cuda_float(n->in[0]->dtype) && n->in[2]->dtype == n->in[0]->dtype &&
           n->out[0]->dtype == n->in[0]->dtype;
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
