/* The update of elements [first, last), the text of every CPU kernel of adamw: plain, or compiled per instruction set.
 * w' may be w and so on, element by element, so iterations are independent whatever the pointers are. */
static void adamw_elements(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const adamw_attrs *a = s->node->attrs;
    adamw_step u = adamw_step_of(s);
    const float *w = s->in[0].data, *g = s->in[1].data, *m = s->in[2].data, *v = s->in[3].data;
    float *new_w = s->out[0].data, *new_m = s->out[1].data, *new_v = s->out[2].data;
    uint16_t *low = s->out[3].data;
    size_t bytes = sizeof(float) * (size_t)(last - first);
    if (!u.apply) {
        if (new_w != w) memcpy(new_w + first, w + first, bytes);
        if (new_m != m) memcpy(new_m + first, m + first, bytes);
        if (new_v != v) memcpy(new_v + first, v + first, bytes);
        if (low) cpu_narrow(low + first, s->out[3].dtype, w + first, last - first);
        return;
    }
    float scale = (float)u.scale, l2 = (float)u.l2, decay = (float)u.decay, rate = (float)u.rate;
    float root_scale = (float)u.root_scale, eps = (float)a->eps;
    float beta2 = (float)a->beta2, rest1 = (float)(1 - a->beta1), rest2 = (float)(1 - a->beta2);
    for (int64_t end, at = first; at < last; at = end) { /* pieces that stay in cache until their copy is written */
        end = MIN(at + 2048, last);
        CPU_INDEPENDENT
        for (int64_t i = at; i < end; i++) {
            float grad = g[i] * scale + w[i] * l2;
            float m1 = m[i] + (grad - m[i]) * rest1;
            float v1 = v[i] * beta2 + grad * grad * rest2;
            new_w[i] = w[i] * decay - rate * m1 / (sqrtf(v1) * root_scale + eps);
            new_m[i] = m1;
            new_v[i] = v1;
        }
        if (low) cpu_narrow(low + at, s->out[3].dtype, new_w + at, end - at);
    }
}

static status adamw_launch(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN, adamw_elements);
}
