/* The oracle's product: three loops in float64. */
#include "kit/cpu/cpu.h"
#include "ops/matmul/matmul.h"

static status launch(const step *s, queue *q)
{
    (void)q;
    matmul_shape p = matmul_shape_of(s);
    const double *c = s->inputs > 2 ? s->in[2].data : NULL;
    for (int64_t batch = 0; batch < p.batch; batch++) {
        int64_t a_at, b_at;
        matmul_offsets(s, batch, &a_at, &b_at);
        const double *a = (const double *)s->in[0].data + a_at, *b = (const double *)s->in[1].data + b_at;
        double *y = (double *)s->out[0].data + batch * p.m * p.n;
        for (int64_t i = 0; i < p.m; i++)
            for (int64_t j = 0; j < p.n; j++) {
                double sum = c ? c[batch * p.m * p.n + i * p.n + j] : 0;
                for (int64_t k = 0; k < p.k; k++) sum += a[i * p.a_row + k * p.a_col] * b[k * p.b_row + j * p.b_col];
                y[i * p.n + j] = sum;
            }
    }
    return INGOT_OK;
}

const kernel_def matmul_ref[] = {
    {.op = &op_matmul_def,
     .name = "matmul.ref",
     .match = match_f64,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_SUM},
    {0},
};
