/* The update of elements [first, last), the text of every CPU kernel of adamw: plain, or compiled per instruction set.
 * w' may be w and so on, element by element, so iterations are independent whatever the pointers are. */
static void adamw_plain(const adamw_span *u, int64_t at, int64_t end)
{
    CPU_INDEPENDENT
    for (int64_t i = at; i < end; i++) {
        float grad = u->g[i] * u->scale + u->w[i] * u->l2;
        float m1 = u->m[i] + (grad - u->m[i]) * u->rest1;
        float v1 = u->v[i] * u->beta2 + grad * grad * u->rest2;
        u->new_w[i] = u->w[i] * u->decay - u->rate * m1 / (sqrtf(v1) * u->root_scale + u->eps);
        u->new_m[i] = m1;
        u->new_v[i] = v1;
    }
}

static adamw_span adamw_span_of(const step *s, const adamw_step *u)
{
    const adamw_attrs *a = s->node->attrs;
    return (adamw_span){.w = s->in[0].data,
                        .g = s->in[1].data,
                        .m = s->in[2].data,
                        .v = s->in[3].data,
                        .new_w = s->out[0].data,
                        .new_m = s->out[1].data,
                        .new_v = s->out[2].data,
                        .scale = (float)u->scale,
                        .l2 = (float)u->l2,
                        .decay = (float)u->decay,
                        .rate = (float)u->rate,
                        .root_scale = (float)u->root_scale,
                        .eps = (float)a->eps,
                        .beta2 = (float)a->beta2,
                        .rest1 = (float)(1 - a->beta1),
                        .rest2 = (float)(1 - a->beta2)};
}

static void adamw_elements(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    adamw_step step = adamw_step_of(s);
    adamw_span u = adamw_span_of(s, &step);
    uint16_t *low = s->out[3].data;
    size_t bytes = sizeof(float) * (size_t)(last - first);
    if (!step.apply) {
        if (u.new_w != u.w) memcpy(u.new_w + first, u.w + first, bytes);
        if (u.new_m != u.m) memcpy(u.new_m + first, u.m + first, bytes);
        if (u.new_v != u.v) memcpy(u.new_v + first, u.v + first, bytes);
        if (low) cpu_narrow(low + first, s->out[3].dtype, u.w + first, last - first);
        return;
    }
#ifdef ADAMW_LANES
    if (u.eps > 1e-16f && (!low || s->out[3].dtype == INGOT_BF16)) {
        adamw_lanes(&u, low, first, last);
        return;
    }
#endif
    for (int64_t end, at = first; at < last; at = end) { /* pieces that stay in cache until their copy is written */
        end = MIN(at + 2048, last);
        adamw_plain(&u, at, end);
        if (low) cpu_narrow(low + at, s->out[3].dtype, u.new_w + at, end - at);
    }
}

static status adamw_launch(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN, adamw_elements);
}
