/* The launch of rung simd's products: matmul_cpu.c and matmul_f64_cpu.c. */
#ifndef OPS_MATMUL_MATMUL_SIMD_H
#define OPS_MATMUL_MATMUL_SIMD_H

#include "ops/matmul/matmul_panels.h"

static void zero_rows(const grid *g)
{
    size_t bytes = (size_t)shape_count(g->step->out[0].shape) * sizeof(real);
    if (g->c)
        memmove(g->y, g->c, bytes);
    else
        memset(g->y, 0, bytes);
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    const shape *x = &n->in[0]->shape, *y = &n->out[0]->shape;
    int64_t k = x->dim[x->rank - (ATTRS_OF(matmul_attrs, n)->trans_a ? 2 : 1)];
    int64_t columns = y->dim[y->rank - 1], m = columns ? shape_count(*y) / columns : 0;
    /* Whether a batch is folded into rows is known with its strides: room for both. */
    int64_t rows = y->dim[y->rank - 2];
    grid all = {0}, one = {0};
    size_blocks(&all, caps, m, columns, k);
    size_blocks(&one, caps, rows, columns, k);
    return MAX(all.elements, one.elements) * (int64_t)sizeof(real) * caps->threads;
}

static status launch(const step *s, queue *q)
{
    grid g = {.step = s, .shape = matmul_shape_of(s), .a = s->in[0].data, .b = s->in[1].data, .y = s->out[0].data};
    g.c = s->inputs > 2 ? s->in[2].data : NULL;
    g.c_row = g.shape.n;
    g.scratch = s->scratch;
    if (g.shape.k)
        run_grid(&g, q);
    else
        zero_rows(&g);
    return INGOT_OK;
}

#endif
