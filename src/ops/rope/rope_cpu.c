/* The same with the two orders of pairs as loops of their own, which vectorise. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "ops/rope/rope.h"

/* y may lie over x: a pair is read before it is written. `sign` -1 turns back. */
static void turn_halves(float *y, const float *x, const float *restrict c, const float *restrict s, float sign,
                        int64_t pairs)
{
#pragma omp simd
    for (int64_t i = 0; i < pairs; i++) {
        float x1 = x[i], x2 = x[i + pairs], sine = s[i] * sign;
        y[i] = x1 * c[i] - x2 * sine;
        y[i + pairs] = x2 * c[i] + x1 * sine;
    }
}

static void turn_neighbours(float *y, const float *x, const float *restrict c, const float *restrict s, float sign,
                            int64_t pairs)
{
#pragma omp simd
    for (int64_t i = 0; i < pairs; i++) {
        float x1 = x[2 * i], x2 = x[2 * i + 1], sine = s[i] * sign;
        y[2 * i] = x1 * c[i] - x2 * sine;
        y[2 * i + 1] = x2 * c[i] + x1 * sine;
    }
}

static void turn(float *y, const float *x, const float *angle, const rope_shape *r, const rope_attrs *a)
{
    int64_t pairs = r->turned / 2;
    if (!angle)
        memset(y, 0, sizeof *y * (size_t)r->turned);
    else
        (a->interleaved ? turn_neighbours : turn_halves)(y, x, angle, angle + pairs, a->inverse ? -1 : 1, pairs);
    if (y != x && r->turned < r->dim) memcpy(y + r->turned, x + r->turned, sizeof *y * (size_t)(r->dim - r->turned));
}

static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    rope_shape r = rope_shape_of(s);
    float *room = (float *)s->scratch + worker * 2 * r.dim;
    for (int64_t n = first; n < last; n++) {
        int64_t position = i32(&s->in[1])[n];
        const float *angle = position >= 0 && position < r.positions ? f32(&s->in[2]) + position * r.turned : NULL;
        for (int64_t h = n * r.heads; h < (n + 1) * r.heads; h++) {
            float *y = row_place(&s->out[0], h * r.dim, room);
            turn(y, row_read(&s->in[0], tensor_row(&s->in[0], h), r.dim, room + r.dim), angle, &r, s->node->attrs);
            row_write(&s->out[0], h * r.dim, r.dim, y);
        }
    }
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    return row_rooms(n, caps, 2);
}

static status launch(const step *s, queue *q)
{
    rope_shape r = rope_shape_of(s);
    return cpu_for(s, q, r.rows, 1 + CPU_GRAIN / (r.heads * r.dim), rows);
}

#define KERNEL                                                                                                         \
    .op = &op_rope_def, .match = cpu_match_narrow, .scratch = scratch, .wants = {STORAGE_LAST_CONTIGUOUS},             \
    .traits = KERNEL_ROW_INVARIANT, .launch = launch, .error = ERROR_POINTWISE
const kernel_def ISA_NAME(rope_cpu)[] = {{.name = "rope.simd", .level = LEVEL_SIMD, KERNEL}, {0}};
