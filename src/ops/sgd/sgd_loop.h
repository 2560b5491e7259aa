/* The update of elements [first, last), the text of every CPU kernel of sgd: plain, or compiled per instruction set. */
static void sgd_keep(const step *s, int64_t first, int64_t last)
{
    size_t bytes = sizeof(float) * (size_t)(last - first);
    if (s->out[0].data != s->in[0].data) memcpy(f32(&s->out[0]) + first, f32(&s->in[0]) + first, bytes);
    if (!s->out[1].data || s->out[1].data == s->in[5].data) return;
    memcpy(f32(&s->out[1]) + first, f32(&s->in[5]) + first, bytes);
}

static void sgd_elements(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const sgd_attrs *a = s->node->attrs;
    const float *w = s->in[0].data, *g = s->in[1].data, *buffer = s->inputs > 5 ? s->in[5].data : NULL;
    float *new_w = s->out[0].data, *new_buffer = s->out[1].data;
    float lr = f32(&s->in[2])[0], scale = f32(&s->in[3])[0], decay = (float)a->weight_decay;
    float momentum = (float)a->momentum, look_ahead = a->nesterov ? momentum : 1, own = a->nesterov ? 1 : 0;
    if (f32(&s->in[4])[0] == 0) {
        sgd_keep(s, first, last);
        return;
    }
    if (!buffer) {
        CPU_INDEPENDENT
        for (int64_t i = first; i < last; i++) new_w[i] = w[i] - lr * (g[i] * scale + w[i] * decay);
        return;
    }
    if (!new_buffer) { /* nobody reads it */
        CPU_INDEPENDENT
        for (int64_t i = first; i < last; i++) {
            float grad = g[i] * scale + w[i] * decay;
            new_w[i] = w[i] - lr * (own * grad + look_ahead * (buffer[i] * momentum + grad));
        }
        return;
    }
    CPU_INDEPENDENT
    for (int64_t i = first; i < last; i++) {
        float grad = g[i] * scale + w[i] * decay, moved = buffer[i] * momentum + grad;
        new_w[i] = w[i] - lr * (own * grad + look_ahead * moved);
        new_buffer[i] = moved;
    }
}

static status sgd_launch(const step *s, queue *q)
{
    return cpu_for(s, q, shape_count(s->out[0].shape), CPU_GRAIN, sgd_elements);
}
