/* The text of both kernels; `real` is the element's type. */
static void rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    int64_t columns = tensor_last(&s->in[0]);
    for (int64_t i = first; i < last; i++) {
        const real *x = (const real *)s->in[0].data + i * columns;
        real best = -((real)__builtin_inf());
        int32_t at = 0;
        for (int64_t j = 0; j < columns; j++)
            if (x[j] > best) best = x[j], at = (int32_t)j;
        i32(&s->out[0])[i] = at;
    }
}

static status launch(const step *s, queue *q)
{
    int64_t columns = tensor_last(&s->in[0]);
    return cpu_for(s, q, tensor_rows(&s->in[0], 1), 1 + CPU_GRAIN / columns, rows);
}
