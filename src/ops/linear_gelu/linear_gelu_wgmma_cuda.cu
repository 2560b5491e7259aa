// linear_gelu.wgmma and linear_gelu_grad.wgmma: when, and how launched. linear_gelu_wgmma.cuh is what they do.
#include "kit/cuda/product.h"
#include "ops/linear_gelu/linear_gelu_cuda.h"
#include "ops/linear_gelu/linear_gelu_wgmma.cuh"

using namespace gelu_rows;

// M rows, K deep, N columns.
struct sizes {
    int64_t rows, depth, columns;
    bool turned; // w lies by rows of N
};

static sizes sizes_of(const node *n)
{
    const shape *x = &n->in[0]->shape, *y = &n->out[0]->shape;
    int64_t k = x->dim[x->rank - 1];
    bool in_out = ATTRS_OF(linear_attrs, n)->in_out != 0;
    return {shape_count(*x) / k, k, y->dim[y->rank - 1], in_out == (n->op == &op_linear_gelu_def)};
}

// Blocks side by side, each with COLUMNS columns; so many parts of the rows as there are multiprocessors for.
static int across(const sizes &z)
{
    return (int)((z.columns + COLUMNS - 1) / COLUMNS);
}

static int parts_of(const sizes &z, const device_caps *caps, int *each)
{
    int64_t tiles = (z.rows + TILE - 1) / TILE, most = MAX(caps->multiprocessors / across(z), 1);
    *each = (int)((tiles + most - 1) / most);
    return (int)((tiles + *each - 1) / *each);
}

// Scratch: w turned, then the parts of the sums.
static int64_t turned_bytes(const sizes &z)
{
    return z.turned ? (z.depth * z.columns * 2 + 255) / 256 * 256 : 0;
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    int each;
    sizes z = sizes_of(n);
    int64_t ours = turned_bytes(z) + parts_of(z, caps, &each) * z.columns * 4 + 256;
    return MAX(linear_gelu_scratch(n, caps), ours);
}

static bool map_matrix(CUtensorMap *map, const void *at, int64_t rows, int64_t columns, bool half, int box)
{
    box_source s = {at, {1, rows, 1, columns}, {0, columns, 0}, half};
    return boxes_fit(s) && map_boxes(map, s, box);
}

template <bool GRADIENT, typename T>
static void launch_rows(const numbers &r, const maps_of &maps, const sizes &z, int parts, queue *q)
{
    constexpr int BYTES = (int)sizeof(memory<T>) + 1024;
    static_assert(BYTES <= 227 * 1024);
    cudaFuncSetAttribute(multiply_rows<GRADIENT, T>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    multiply_rows<GRADIENT, T><<<dim3((unsigned)across(z), (unsigned)parts), THREADS, BYTES, q->stream>>>(r, maps);
}

template <typename T> static const void *turned_matrix(const step *s, const sizes &z, char *scratch, queue *q)
{
    dim3 grid((unsigned)(z.columns + 31) / 32, (unsigned)(z.depth + 31) / 32);
    turn_matrix<T>
        <<<grid, dim3(32, 8), 0, q->stream>>>((T *)scratch, (const T *)s->in[1].data, (int)z.depth, (int)z.columns);
    return scratch;
}

template <bool GRADIENT> static status launch(const step *s, queue *q)
{
    const node *n = s->node;
    sizes z = sizes_of(n);
    bool half = s->in[0].dtype == INGOT_F16;
    char *start = (char *)(((uintptr_t)s->scratch + 255) / 256 * 256);
    numbers r = {.rows = z.rows, .columns = (int)z.columns, .steps = (int)(z.depth + 63) / 64};
    r.y = s->out[0].data;
    if (GRADIENT)
        r.h = s->in[2].data;
    else
        r.bias = weights_of(&s->in[2]), r.to_h = n->out[LINEAR_GELU_H] ? s->out[LINEAR_GELU_H].data : nullptr;
    maps_of maps;
    bool aligned = ((uintptr_t)r.y | (uintptr_t)r.h | (uintptr_t)r.to_h | (uintptr_t)r.bias.at) % 16 == 0;
    const void *w = z.turned ? start : s->in[1].data;
    if (!aligned || !map_matrix(&maps.x, s->in[0].data, z.rows, z.depth, half, TILE) ||
        !map_matrix(&maps.w, w, z.columns, z.depth, half, COLUMNS))
        return linear_gelu_launch(s, q);
    int parts = parts_of(z, q->caps, &r.each);
    if (GRADIENT && n->out[LINEAR_GELU_GRAD_SUMS]) r.parts = (float *)(start + turned_bytes(z));
    if (half) {
        if (z.turned) turned_matrix<f16>(s, z, start, q);
        launch_rows<GRADIENT, f16>(r, maps, z, parts, q);
    } else {
        if (z.turned) turned_matrix<bf16>(s, z, start, q);
        launch_rows<GRADIENT, bf16>(r, maps, z, parts, q);
    }
    if (!r.parts) return INGOT_OK;
    queue_first_output_made(q);
    linear_gelu_add_parts((float *)s->out[LINEAR_GELU_GRAD_SUMS].data, r.parts, parts, r.columns, q);
    return INGOT_OK;
}

// Of so many rows that reading a matrix into shared memory first does not count, if it is not too deep for that.
static bool match(const node *n, const device_caps *caps)
{
    if (!wgmma_runs(caps) || !linear_gelu_by_library(n, caps)) return false;
    sizes z = sizes_of(n);
    return z.rows >= 8 * TILE && z.depth <= STEPS * 64;
}

#define ROWS_KERNEL                                                                                                    \
    .level = LEVEL_BEST, .match = match, .scratch = scratch, .prepare = linear_gelu_prepare, .unprepare = product_free
extern "C" const kernel_def linear_gelu_wgmma_cuda[] = {
    {.op = &op_linear_gelu_def, .name = "linear_gelu.wgmma", ROWS_KERNEL, .launch = launch<false>, .error = ERROR_SUM},
    {.op = &op_linear_gelu_grad_def,
     .name = "linear_gelu_grad.wgmma",
     ROWS_KERNEL,
     .launch = launch<true>,
     .error = ERROR_SUM},
    {},
};
