/* Max pooling, the text of every CPU kernel: plain, or vectorised over channels. */
static void clip(int64_t start, int64_t kernel, int64_t size, int64_t *first, int64_t *last)
{
    *first = MAX(0, start);
    *last = MIN(size, start + kernel);
}

static void pool_rows(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    window_sizes z = window_sizes_of(s, &s->in[0], &s->out[0]);
    const float *x = s->in[0].data;
    for (int64_t row = first; row < last; row++) { /* (n, oh) */
        int64_t image = row / z.oh, h0, h1, w0, w1;
        clip(row % z.oh * z.a.stride_h - z.a.pad_h, z.a.kernel_h, z.h, &h0, &h1);
        for (int64_t j = 0; j < z.ow; j++) {
            float *restrict y = f32(&s->out[0]) + (row * z.ow + j) * z.c;
            clip(j * z.a.stride_w - z.a.pad_w, z.a.kernel_w, z.w, &w0, &w1);
            for (int64_t c = 0; c < z.c; c++) y[c] = -(float)__builtin_inff();
            for (int64_t h = h0; h < h1; h++)
                for (int64_t w = w0; w < w1; w++) {
                    const float *restrict from = x + ((image * z.h + h) * z.w + w) * z.c;
                    for (int64_t c = 0; c < z.c; c++) y[c] = from[c] > y[c] ? from[c] : y[c];
                }
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

/* One window: finds the first largest tap of each of up to CHANNELS channels, then adds there. */
enum { CHANNELS = 64 };

static void scatter_window(const window_sizes *z, const float *x, float *dx, const float *d, int64_t top, int64_t left,
                           int64_t channels)
{
    float best[CHANNELS];
    int32_t at[CHANNELS];
    int64_t h0, h1, w0, w1;
    clip(top, z->a.kernel_h, z->h, &h0, &h1);
    clip(left, z->a.kernel_w, z->w, &w0, &w1);
    const float *start = x + (h0 * z->w + w0) * z->c;
    for (int64_t c = 0; c < channels; c++) best[c] = start[c], at[c] = (int32_t)(h0 * z->w + w0);
    for (int64_t h = h0; h < h1; h++)
        for (int64_t w = w0; w < w1; w++) {
            const float *from = x + (h * z->w + w) * z->c;
            for (int64_t c = 0; c < channels; c++) {
                bool more = from[c] > best[c];
                at[c] = more ? (int32_t)(h * z->w + w) : at[c];
                best[c] = more ? from[c] : best[c];
            }
        }
    for (int64_t c = 0; c < channels; c++) dx[at[c] * z->c + c] += d[c];
}

static void pool_grad_images(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    window_sizes z = window_sizes_of(s, &s->in[0], &s->in[1]);
    int64_t pixels = z.h * z.w * z.c;
    for (int64_t n = first; n < last; n++) {
        const float *x = f32(&s->in[0]) + n * pixels, *d = f32(&s->in[1]) + n * z.oh * z.ow * z.c;
        float *dx = f32(&s->out[0]) + n * pixels;
        memset(dx, 0, sizeof *dx * (size_t)pixels);
        for (int64_t i = 0; i < z.oh; i++)
            for (int64_t j = 0; j < z.ow; j++)
                for (int64_t c = 0; c < z.c; c += CHANNELS)
                    scatter_window(&z, x + c, dx + c, d + (i * z.ow + j) * z.c + c, i * z.a.stride_h - z.a.pad_h,
                                   j * z.a.stride_w - z.a.pad_w, MIN(CHANNELS, z.c - c));
    }
}

static status pool_grad_launch(const step *s, queue *q)
{
    return cpu_for(s, q, s->in[0].shape.dim[0], 1, pool_grad_images);
}
