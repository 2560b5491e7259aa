/* Average pooling, the text of every CPU kernel: plain, or vectorised over channels. */
static float share_of(const window_sizes *z)
{
    return (float)(1.0 / (double)(z->a.kernel_h * z->a.kernel_w));
}

static void pool_rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    window_sizes z = window_sizes_of(s, &s->in[0], &s->out[0]);
    const float *x = s->in[0].data;
    float share = share_of(&z);
    for (int64_t row = first; row < last; row++) { /* (n, oh) */
        int64_t image = row / z.oh, top = row % z.oh * z.a.stride_h - z.a.pad_h;
        for (int64_t j = 0; j < z.ow; j++) {
            int64_t left = j * z.a.stride_w - z.a.pad_w;
            float *restrict y = f32(&s->out[0]) + (row * z.ow + j) * z.c;
            for (int64_t c = 0; c < z.c; c++) y[c] = 0;
            for (int64_t h = MAX(0, top); h < MIN(z.h, top + z.a.kernel_h); h++)
                for (int64_t w = MAX(0, left); w < MIN(z.w, left + z.a.kernel_w); w++) {
                    const float *restrict from = x + ((image * z.h + h) * z.w + w) * z.c;
                    for (int64_t c = 0; c < z.c; c++) y[c] += from[c];
                }
            for (int64_t c = 0; c < z.c; c++) y[c] *= share;
        }
    }
}

static status pool_launch(const step *s, queue *q)
{
    const shape *y = &s->out[0].shape;
    const window_attrs *a = s->node->attrs;
    int64_t each = y->dim[2] * y->dim[3] * a->kernel_h * a->kernel_w;
    return cpu_for(s, q, y->dim[0] * y->dim[1], 1 + CPU_GRAIN / each, pool_rows);
}

/* One row of the image takes its part of every window that covers it. */
static void pool_grad_rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    window_sizes z = window_sizes_of(s, &s->out[0], &s->in[0]);
    const float *d = s->in[0].data;
    float share = share_of(&z);
    for (int64_t row = first; row < last; row++) { /* (n, h) */
        int64_t image = row / z.h, h = row % z.h;
        float *x = f32(&s->out[0]) + row * z.w * z.c;
        memset(x, 0, sizeof *x * (size_t)(z.w * z.c));
        for (int64_t i = 0; i < z.oh; i++) {
            int64_t top = i * z.a.stride_h - z.a.pad_h;
            if (h < top || h >= top + z.a.kernel_h) continue;
            for (int64_t j = 0; j < z.ow; j++) {
                int64_t left = j * z.a.stride_w - z.a.pad_w;
                const float *restrict from = d + ((image * z.oh + i) * z.ow + j) * z.c;
                for (int64_t w = MAX(0, left); w < MIN(z.w, left + z.a.kernel_w); w++) {
                    float *restrict to = x + w * z.c;
                    for (int64_t c = 0; c < z.c; c++) to[c] += from[c] * share;
                }
            }
        }
    }
}

static status pool_grad_launch(const step *s, queue *q)
{
    const shape *x = &s->out[0].shape;
    return cpu_for(s, q, x->dim[0] * x->dim[1], 1 + CPU_GRAIN / 4 / (x->dim[2] * x->dim[3]), pool_grad_rows);
}
