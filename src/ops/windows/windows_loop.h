/* The loops of windows and windows_add over REAL: plain for ref and naive, compiled per instruction set for simd. Both go
 * by rows: of windows, and of the image, so that nothing is written by two threads. */
static void windows_rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    window_sizes z = window_sizes_of(s, &s->in[0], &s->out[0]);
    const REAL *x = s->in[0].data;
    REAL pad = (REAL)z.a.pad_value;
    for (int64_t row = first; row < last; row++) { /* (n, oh) */
        int64_t image = row / z.oh, top = row % z.oh * z.a.stride_h - z.a.pad_h;
        REAL *y = (REAL *)s->out[0].data + row * z.ow * z.a.kernel_h * z.a.kernel_w * z.c;
        for (int64_t j = 0; j < z.ow; j++)
            for (int64_t p = 0; p < z.a.kernel_h; p++)
                for (int64_t q = 0; q < z.a.kernel_w; q++, y += z.c) {
                    int64_t at_h = top + p, at_w = j * z.a.stride_w - z.a.pad_w + q;
                    bool inside = at_h >= 0 && at_h < z.h && at_w >= 0 && at_w < z.w;
                    const REAL *from = inside ? x + ((image * z.h + at_h) * z.w + at_w) * z.c : NULL;
                    for (int64_t c = 0; c < z.c; c++) y[c] = from ? from[c] : pad;
                }
    }
}

static status windows_launch(const step *s, queue *q)
{
    const shape *y = &s->out[0].shape;
    int64_t rows = y->dim[0] * y->dim[1], each = shape_count(*y) / rows;
    return cpu_for(s, q, rows, 1 + CPU_GRAIN / each, windows_rows);
}

/* Adds to one row of the image all that windows took from it, in the order of (oh, p, ow, q). */
static void windows_add_row(const window_sizes *z, const REAL *y, int64_t image, int64_t at_h, REAL *x)
{
    int64_t kernel = z->a.kernel_h * z->a.kernel_w * z->c;
    for (int64_t i = 0; i < z->w * z->c; i++) x[i] = 0;
    for (int64_t oh = 0; oh < z->oh; oh++) {
        int64_t p = at_h - (oh * z->a.stride_h - z->a.pad_h);
        if (p < 0 || p >= z->a.kernel_h) continue;
        for (int64_t ow = 0; ow < z->ow; ow++) {
            const REAL *from = y + ((image * z->oh + oh) * z->ow + ow) * kernel + p * z->a.kernel_w * z->c;
            for (int64_t q = 0; q < z->a.kernel_w; q++, from += z->c) {
                int64_t at_w = ow * z->a.stride_w - z->a.pad_w + q;
                if (at_w < 0 || at_w >= z->w) continue;
                REAL *to = x + at_w * z->c;
                for (int64_t c = 0; c < z->c; c++) to[c] += from[c];
            }
        }
    }
}

static void windows_add_rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    window_sizes z = window_sizes_of(s, &s->out[0], &s->in[0]);
    for (int64_t row = first; row < last; row++)
        windows_add_row(&z, s->in[0].data, row / z.h, row % z.h, (REAL *)s->out[0].data + row * z.w * z.c);
}

static status windows_add_launch(const step *s, queue *q)
{
    const shape *x = &s->out[0].shape;
    int64_t rows = x->dim[0] * x->dim[1], each = shape_count(s->in[0].shape) / rows;
    return cpu_for(s, q, rows, 1 + CPU_GRAIN / MAX(each, 1), windows_add_rows);
}
