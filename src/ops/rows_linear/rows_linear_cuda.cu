// A linear layer of a few rows with its neighbours on CUDA: one launch, which asks for its weights before it waits.
#include "kit/cuda/values.cuh"
#include "ops/matmul/rows_ahead_cuda.h"
#include "ops/rows_linear/rows_linear.h"

static const value *input(const node *n, int i)
{
    return i < n->inputs ? n->in[i] : nullptr;
}

static int64_t rows_of(const node *n)
{
    return shape_count(n->in[ROWS_LINEAR_X]->shape) / n->in[ROWS_LINEAR_W]->shape.dim[1];
}

static bool match(const node *n, const device_caps *)
{
    const value *w = n->in[ROWS_LINEAR_W], *gain = input(n, ROWS_LINEAR_GAIN), *c = input(n, ROWS_LINEAR_C);
    ingot_dtype d = n->in[ROWS_LINEAR_X]->dtype, y = n->out[0]->dtype;
    if (w->dtype != d || (y != d && y != INGOT_F32)) return false;
    if ((gain && gain->dtype != d && gain->dtype != INGOT_F32) || (c && c->dtype != y)) return false;
    return rows_ahead_takes(rows_of(n), w->shape.dim[1], w->shape.dim[0], d);
}

static status launch_blocks(const step *s, queue *q, int blocks)
{
    const node *n = s->node;
    const rows_linear_attrs *a = ATTRS_OF(rows_linear_attrs, n);
    unsigned read_ahead = 1u << ROWS_LINEAR_W;
    rows_ahead_job j = {};
    j.y = s->out[0].data, j.x = s->in[ROWS_LINEAR_X].data, j.w = s->in[ROWS_LINEAR_W].data;
    j.wide = s->out[0].dtype == INGOT_F32;
    if (input(n, ROWS_LINEAR_GAIN)) {
        j.gain = s->in[ROWS_LINEAR_GAIN].data;
        j.gain_wide = s->in[ROWS_LINEAR_GAIN].dtype == INGOT_F32;
        read_ahead |= 1u << ROWS_LINEAR_GAIN;
    }
    if (input(n, ROWS_LINEAR_C)) j.c = s->in[ROWS_LINEAR_C].data;
    j.rests = (s->resting & read_ahead) == read_ahead;
    j.swiglu = a->swiglu != 0, j.eps = (float)a->eps;
    j.m = (int)rows_of(n), j.k = (int)s->in[ROWS_LINEAR_W].shape.dim[1];
    j.outputs = s->in[ROWS_LINEAR_W].shape.dim[0] >> j.swiglu;
    rows_ahead_launch(j, s->in[ROWS_LINEAR_X].dtype, q, blocks);
    return INGOT_OK;
}

static status launch_one_each(const step *s, queue *q)
{
    return launch_blocks(s, q, 1);
}

static status launch_two_each(const step *s, queue *q)
{
    return launch_blocks(s, q, 2);
}

// As the parts are, but for what they round between product, swiglu and sum: the error is below theirs. Which of the two is
// the faster one has not been measured yet.
#define ROWS_LINEAR(name_, launch_)                                                                                    \
    {                                                                                                                  \
        .op = &op_rows_linear_def, .name = name_, .level = LEVEL_BEST, .traits = KERNEL_WAITS | KERNEL_BY_REQUEST,     \
        .match = match, .launch = launch_, .error = ERROR_SUM                                                          \
    }
extern "C" const kernel_def rows_linear_cuda[] = {
    ROWS_LINEAR("rows_linear.ahead", launch_one_each),
    ROWS_LINEAR("rows_linear.ahead2", launch_two_each),
    {},
};
