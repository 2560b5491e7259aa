#include "kit/cpu/cpu.h"
#include "ops/rope/rope.h"

static void turn(float *y, const float *x, const float *angle, const rope_shape *r, const rope_attrs *a)
{
    int64_t pairs = r->turned / 2;
    for (int64_t i = 0; i < pairs; i++) {
        int64_t first = a->interleaved ? 2 * i : i, second = a->interleaved ? 2 * i + 1 : i + pairs;
        float x1 = x[first], x2 = x[second];
        float c = angle ? angle[i] : 0, s = angle ? angle[pairs + i] : 0;
        if (a->inverse) s = -s;
        y[first] = x1 * c - x2 * s;
        y[second] = x2 * c + x1 * s;
    }
    for (int64_t i = r->turned; i < r->dim; i++) y[i] = x[i];
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    rope_shape r = rope_shape_of(s);
    for (int64_t n = first; n < last; n++) {
        int64_t position = i32(&s->in[1])[n];
        const float *angle = position >= 0 && position < r.positions ? f32(&s->in[2]) + position * r.turned : NULL;
        for (int64_t h = n * r.heads; h < (n + 1) * r.heads; h++)
            turn(f32(&s->out[0]) + h * r.dim, f32(&s->in[0]) + tensor_row(&s->in[0], h), angle, &r, s->node->attrs);
    }
}

static status launch(const step *s, queue *q)
{
    rope_shape r = rope_shape_of(s);
    return cpu_for(s, q, r.rows, 1 + CPU_GRAIN / (r.heads * r.dim), rows);
}

#define KERNEL                                                                                                         \
    .op = &op_rope_def, .wants = {STORAGE_LAST_CONTIGUOUS}, .traits = KERNEL_ROW_INVARIANT, .launch = launch,          \
    .error = ERROR_POINTWISE
const kernel_def rope_naive[] = {
    {.name = "rope.parallel", .level = LEVEL_PARALLEL, KERNEL},
    {.name = "rope.naive", .level = LEVEL_NAIVE, KERNEL},
    {0},
};
