// Rows by id on CUDA. Adding rows is a stable sort of (id, place), then one sum per id in the order of places: the same
// bits each run, without float atomics.
#include "kit/cuda/cuda.h"
#include "ops/table.h"

#include <cub/device/device_radix_sort.cuh>

static bool match_ids(const node *n, const device_caps *)
{
    return n->in[1]->dtype == INGOT_I32;
}

static bool match_f32_ids(const node *n, const device_caps *caps)
{
    return match_f32(n, caps) && match_ids(n, caps);
}

static int64_t row_elements(const tensor *table)
{
    return shape_count(table->shape) / table->shape.dim[0];
}

template <typename T>
__global__ void gather_rows(T *y, const T *table, const int32_t *ids, int64_t rows, int64_t row, int64_t n)
{
    for (CUDA_EACH(i, n)) {
        int32_t id = ids[i / row];
        y[i] = id < 0 || id >= rows ? (T)0 : table[id * row + i % row];
    }
}

static status gather(const step *s, queue *q)
{
    const tensor *table = &s->in[0];
    int64_t row = row_elements(table), n = shape_count(s->out[0].shape), size = ingot_dtype_bytes(table->dtype);
    const int32_t *ids = (const int32_t *)s->in[1].data;
    if (size == 4)
        gather_rows<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>(
            (uint32_t *)s->out[0].data, (const uint32_t *)table->data, ids, table->shape.dim[0], row, n);
    else if (size == 2)
        gather_rows<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>(
            (uint16_t *)s->out[0].data, (const uint16_t *)table->data, ids, table->shape.dim[0], row, n);
    else
        gather_rows<<<cuda_blocks(n), CUDA_THREADS, 0, q->stream>>>(
            (uint64_t *)s->out[0].data, (const uint64_t *)table->data, ids, table->shape.dim[0], row, n);
    return INGOT_OK;
}

static bool match_moved(const node *n, const device_caps *caps)
{
    return match_ids(n, caps) && ingot_dtype_bytes(n->in[0]->dtype) >= 2;
}

__global__ void number_places(uint32_t *keys, int32_t *places, const int32_t *ids, int64_t rows, int64_t n)
{
    for (CUDA_EACH(i, n)) {
        keys[i] = ids[i] < 0 || ids[i] >= rows ? 0xffffffffu : (uint32_t)ids[i];
        places[i] = (int32_t)i;
    }
}

// A block for each sorted place that begins a run of one id; its threads are columns.
__global__ void add_runs(float *y, const float *x, const uint32_t *keys, const int32_t *places, int64_t row, int64_t n)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        uint32_t id = keys[i];
        if (id == 0xffffffffu || (i > 0 && keys[i - 1] == id)) continue;
        for (int64_t c = threadIdx.x; c < row; c += blockDim.x) {
            float sum = y[id * row + c];
            for (int64_t k = i; k < n && keys[k] == id; k++) sum += x[places[k] * row + c];
            y[id * row + c] = sum;
        }
    }
}

// The last place of a run of one id writes its row: what an id holds does not depend on which thread was last.
__global__ void write_last(uint32_t *y, const uint32_t *x, const uint32_t *keys, const int32_t *places, int64_t row,
                           int64_t n)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        uint32_t id = keys[i];
        if (id == 0xffffffffu || (i + 1 < n && keys[i + 1] == id)) continue;
        for (int64_t c = threadIdx.x; c < row; c += blockDim.x) y[id * row + c] = x[places[i] * row + c];
    }
}

static size_t sort_bytes(int64_t n)
{
    size_t bytes = 0;
    cub::DeviceRadixSort::SortPairs(nullptr, bytes, (const uint32_t *)nullptr, (uint32_t *)nullptr,
                                    (const int32_t *)nullptr, (int32_t *)nullptr, (int)n);
    return bytes;
}

static int64_t scratch(const node *n, const device_caps *)
{
    int64_t ids = shape_count(n->in[1]->shape);
    return 4 * ids * 4 + 256 + (int64_t)sort_bytes(ids);
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
    int64_t n = shape_count(s->in[1].shape), row = row_elements(&s->out[0]);
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
    copy_base(s, q);
    sorted_ids i = sort_ids(s, q);
    add_runs<<<i.blocks, i.threads, 0, q->stream>>>((float *)s->out[0].data, (const float *)s->in[2].data, i.keys,
                                                    i.places, i.row, i.n);
    return INGOT_OK;
}

static status scatter_rows(const step *s, queue *q)
{
    copy_base(s, q);
    sorted_ids i = sort_ids(s, q);
    write_last<<<i.blocks, i.threads, 0, q->stream>>>((uint32_t *)s->out[0].data, (const uint32_t *)s->in[2].data,
                                                      i.keys, i.places, i.row, i.n);
    return INGOT_OK;
}

extern "C" const kernel_def gather_cuda[] = {
    {.op = &op_gather_def,
     .name = "gather.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match_moved,
     .launch = gather},
    {.op = &op_scatter_add_def,
     .name = "scatter_add.cuda",
     .level = LEVEL_BEST,
     .match = match_f32_ids,
     .scratch = scratch,
     .launch = scatter_add,
     .error = ERROR_SUM},
    {.op = &op_scatter_rows_def,
     .name = "scatter_rows.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match_f32_ids,
     .scratch = scratch,
     .launch = scatter_rows},
    {},
};
