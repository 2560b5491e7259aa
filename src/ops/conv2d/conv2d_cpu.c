/* Convolution and its gradients as products of matrices that nobody writes down (implicit GEMM): the loops of rung simd
 * (ops/matmul/matmul_panels.h) copy the windows that a tile needs from the image, a few rows at a time, right before its use.
 * A window's row (q, c) is one run of memory, so that is cheap; the matrix of all windows would be KH KW times the image.
 *
 *     y  (N OH OW, O)    = windows of x (N OH OW, KH KW C)  times  w turned (KH KW C, O)
 *     dw (O, KH KW C)    = dy turned (O, N OH OW)           times  windows of x
 *     dx (N H W, C)      = windows of dy (N H W, KH KW O)   times  w upside down (KH KW O, C): strides of 1 only
 */
#include <math.h>

typedef float real;
#define REAL_BYTES 4
#include "ops/conv2d/conv2d.h"
#include "ops/matmul/matmul_panels.h"

enum { X, W, BIAS };

typedef struct window_matrix {
    window_sizes z;
    const real *image; /* (N, H, W, C) */
} window_matrix;

/* Elements [from, to) of the run of window row p of the window at (top, left); zeros outside of the image. */
INLINE void copy_run(real *y, const window_matrix *m, int64_t image, int64_t at_h, int64_t left, int64_t from,
                     int64_t to)
{
    const window_sizes *z = &m->z;
    int64_t width = z->w * z->c, start = left * z->c;
    bool inside = at_h >= 0 && at_h < z->h;
    const real *x = m->image + (image * z->h + (inside ? at_h : 0)) * width;
    int64_t first = MIN(MAX(from, -start), to), last = inside ? MAX(MIN(to, width - start), first) : first;
    for (int64_t i = from; i < first; i++) y[i - from] = 0;
    for (int64_t i = first; i < last; i++) y[i - from] = x[start + i];
    for (int64_t i = last; i < to; i++) y[i - from] = 0;
}

static void copy_windows(const void *of, real *to, int64_t to_row, int64_t row, int64_t rows, int64_t column,
                         int64_t columns)
{
    const window_matrix *m = of;
    const window_sizes *z = &m->z;
    int64_t run = z->a.kernel_w * z->c, image = row / (z->oh * z->ow), i = row / z->ow % z->oh, j = row % z->ow;
    for (; rows > 0; rows--, to += to_row) {
        for (int64_t p = column / run; p * run < column + columns; p++) {
            int64_t from = MAX(column - p * run, 0), end = MIN(column + columns - p * run, run);
            copy_run(to + p * run + from - column, m, image, i * z->a.stride_h - z->a.pad_h + p,
                     j * z->a.stride_w - z->a.pad_w, from, end);
        }
        if (++j < z->ow) continue;
        j = 0;
        if (++i < z->oh) continue;
        i = 0;
        image++;
    }
}

typedef struct filter_matrix {
    const real *w; /* (O, KH, KW, C) */
    int64_t kernel, o, c;
} filter_matrix;

/* Rows (p, q, o), columns c of w upside down. */
static void copy_filters(const void *of, real *to, int64_t to_row, int64_t row, int64_t rows, int64_t column,
                         int64_t columns)
{
    const filter_matrix *m = of;
    for (int64_t i = row; i < row + rows; i++, to += to_row) {
        const real *w = m->w + (i % m->o * m->kernel + m->kernel - 1 - i / m->o) * m->c + column;
        for (int64_t j = 0; j < columns; j++) to[j] = w[j];
    }
}

static int64_t scratch_of(const device_caps *caps, const matmul_shape *s)
{
    grid g = {0};
    size_blocks(&g, caps, s->m, s->n, s->k);
    return g.elements * (int64_t)sizeof(real) * caps->threads;
}

/* ---- y ---- */

static matmul_shape forward_shape(const shape *w, const shape *y)
{
    int64_t k = w->dim[1] * w->dim[2] * w->dim[3];
    return (matmul_shape){
        .m = y->dim[0] * y->dim[1] * y->dim[2], .n = y->dim[3], .k = k, .b_row = 1, .b_col = k, .batch = 1};
}

static int64_t forward_scratch(const node *n, const device_caps *caps)
{
    matmul_shape s = forward_shape(&n->in[W]->shape, &n->out[0]->shape);
    return scratch_of(caps, &s);
}

static status forward_launch(const step *s, queue *q)
{
    window_matrix windows = {.z = window_sizes_of(s, &s->in[X], &s->out[0]), .image = s->in[X].data};
    grid g = {.shape = forward_shape(&s->in[W].shape, &s->out[0].shape),
              .a = s->in[X].data,
              .b = s->in[W].data,
              .c = s->inputs > BIAS ? s->in[BIAS].data : NULL,
              .y = s->out[0].data,
              .scratch = s->scratch,
              .implicit_a = {copy_windows, &windows}};
    run_grid(&g, q);
    return INGOT_OK;
}

/* ---- dw (O, KH, KW, C) of x and dy ---- */

static matmul_shape filter_shape(const shape *dy, const shape *dw)
{
    int64_t o = dy->dim[3];
    return (matmul_shape){.m = o,
                          .n = dw->dim[1] * dw->dim[2] * dw->dim[3],
                          .k = dy->dim[0] * dy->dim[1] * dy->dim[2],
                          .a_row = 1,
                          .a_col = o,
                          .batch = 1};
}

static int64_t filter_scratch(const node *n, const device_caps *caps)
{
    matmul_shape s = filter_shape(&n->in[1]->shape, &n->out[0]->shape);
    return scratch_of(caps, &s);
}

static status filter_launch(const step *s, queue *q)
{
    window_matrix windows = {.z = window_sizes_of(s, &s->in[0], &s->in[1]), .image = s->in[0].data};
    grid g = {.shape = filter_shape(&s->in[1].shape, &s->out[0].shape),
              .a = s->in[1].data,
              .b = s->in[0].data,
              .y = s->out[0].data,
              .scratch = s->scratch,
              .implicit_b = {copy_windows, &windows}};
    run_grid(&g, q);
    return INGOT_OK;
}

/* ---- dx (N, H, W, C) of w and dy ---- */

static matmul_shape image_shape(const shape *w, const shape *dx)
{
    return (matmul_shape){
        .m = dx->dim[0] * dx->dim[1] * dx->dim[2], .n = dx->dim[3], .k = w->dim[0] * w->dim[1] * w->dim[2], .batch = 1};
}

static bool image_match(const node *n, const device_caps *caps)
{
    const window_attrs *a = n->attrs;
    return match_f32(n, caps) && a->stride_h == 1 && a->stride_w == 1 && a->pad_h < a->kernel_h &&
           a->pad_w < a->kernel_w;
}

static int64_t image_scratch(const node *n, const device_caps *caps)
{
    matmul_shape s = image_shape(&n->in[0]->shape, &n->out[0]->shape);
    return scratch_of(caps, &s);
}

static status image_launch(const step *s, queue *q)
{
    const shape *w = &s->in[0].shape;
    window_matrix windows = {.z = window_sizes_of(s, &s->in[1], &s->out[0]), .image = s->in[1].data};
    windows.z.a.pad_h = w->dim[1] - 1 - windows.z.a.pad_h;
    windows.z.a.pad_w = w->dim[2] - 1 - windows.z.a.pad_w;
    filter_matrix filters = {.w = s->in[0].data, .kernel = w->dim[1] * w->dim[2], .o = w->dim[0], .c = w->dim[3]};
    grid g = {.shape = image_shape(w, &s->out[0].shape),
              .a = s->in[1].data,
              .b = s->in[0].data,
              .y = s->out[0].data,
              .scratch = s->scratch,
              .implicit_a = {copy_windows, &windows},
              .implicit_b = {copy_filters, &filters}};
    run_grid(&g, q);
    return INGOT_OK;
}

const kernel_def ISA_NAME(conv2d_cpu)[] = {
    {.op = &op_conv2d_def,
     .name = "conv2d.simd",
     .level = LEVEL_SIMD,
     .scratch = forward_scratch,
     .launch = forward_launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {.op = &op_conv2d_grad_w_def,
     .name = "conv2d_grad_w.simd",
     .level = LEVEL_SIMD,
     .scratch = filter_scratch,
     .launch = filter_launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {.op = &op_conv2d_grad_x_def,
     .name = "conv2d_grad_x.simd",
     .level = LEVEL_SIMD,
     .match = image_match,
     .scratch = image_scratch,
     .launch = image_launch,
     .error = ERROR_SUM,
     .traits = KERNEL_ROW_INVARIANT},
    {0},
};
