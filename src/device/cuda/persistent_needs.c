/* What a step must wait for before it goes into a persistent launch: hazards by memory, as graph.c sees them, but for what the
 * block itself has in shared memory and for what other blocks can hand over.
 */
#include "device/cuda/persistent_build.h"

/* `but`: writes to memory that begins there do not count. */
static need need_of(const stage_builder *b, touch t, const void *but)
{
    need n = NEED_NOTHING;
    for (int64_t i = 0; i < b->touched.count; i++) {
        const touch *o = &b->touched.at[i];
        if (!(t.writes || o->writes) || !spans_meet(t.at, o->at) || (but && o->writes && o->at.from == but)) continue;
        bool same = t.sliced && o->sliced && t.count == o->count && t.at.from == o->at.from && t.at.to == o->at.to;
        n = stage_worse(n, same ? NEED_SYNC : NEED_BARRIER);
    }
    return n;
}

const made *stage_find_made(const stage_builder *b, const tensor *t)
{
    for (int64_t i = b->made.count - 1; i >= 0; i--) {
        const made *m = &b->made.at[i];
        if (m->at.from == t->data && m->count == shape_count(t->shape) && m->dtype == t->dtype) return m;
    }
    return NULL;
}

bool stage_is_written(const stage_builder *b, span at)
{
    for (int64_t i = 0; i < b->written.count; i++)
        if (spans_meet(b->written.at[i], at)) return true;
    return false;
}

/* A few integers that this launch does not write. */
bool stage_is_constant(const stage_builder *b, const tensor *t)
{
    return t->dtype == INGOT_I32 && shape_count(t->shape) <= 64 && !stage_is_written(b, span_of(t));
}

/* Whether blocks may hand it to each other without a barrier. */
static bool can_be_taken(const stage_builder *b, const made *m)
{
    return m->spread != STAGE_WHOLE && m->dtype == b->dtype && m->count % 8 == 0 && m->count * 4 <= STAGE_WHOLE_BYTES &&
           b->tagged + m->count * 8 / STAGE_TAGGED + 1 < UINT16_MAX;
}

/* Where an input is read: shared memory, where this block has it. */
need stage_find_input(const stage_builder *b, const tensor *t, bool sliced, const void *but, stage_operand *out)
{
    const made *m = stage_find_made(b, t);
    *out = (stage_operand){.at = t->data, .local = STAGE_GLOBAL, .dtype = (uint8_t)t->dtype};
    bool now = m && m->interval == b->intervals.count - 1;
    if (m && m->local != STAGE_GLOBAL && ((m->spread == STAGE_WHOLE && now) || (m->spread == STAGE_SLICED && sliced))) {
        out->local = m->local;
        out->sliced = m->spread == STAGE_SLICED;
        return now ? NEED_SYNC : NEED_NOTHING;
    }
    for (int64_t i = 0; i < b->constants.count; i++)
        if (b->constants.at[i].from == t->data) out->local = b->constants.at[i].to;
    if (m && m->taken_in == b->intervals.count - 1) {
        out->local = m->taken;
        return NEED_SYNC;
    }
    touch reads = {span_of(t), shape_count(t->shape), false, sliced};
    need n = need_of(b, reads, but);
    return n == NEED_BARRIER && m && can_be_taken(b, m) && need_of(b, reads, m->at.from) <= NEED_SYNC ? NEED_TAKE : n;
}

/* The step of the last interval that overwrites a row of the pool. */
static const step *find_scatter(const stage_builder *b, const void *pool)
{
    for (int i = 0; i < b->stages; i++)
        if (b->scatter[i] && b->scatter[i]->out[0].data == pool) return b->scatter[i];
    return NULL;
}

static need find_own_row(const stage_builder *b, const step *scatter, const stage_offer *o, int input, stage *to)
{
    stage_operand slot;
    need n = stage_worse(stage_find_input(b, &scatter->in[1], false, NULL, &slot),
                         stage_find_input(b, &scatter->in[2], false, NULL, &to->operand[o->own_row[input]]));
    const stage_operand *before = &to->operand[o->own_slot];
    if (before->at && before->at != slot.at) n = NEED_BARRIER; /* rows of other sequences */
    to->operand[o->own_slot] = slot;
    return n;
}

need stage_find_inputs(const stage_builder *b, const step *s, const stage_offer *o, stage *to)
{
    need n = NEED_NOTHING;
    int own = 0, fresh = 0;
    for (int i = o->in_place; i < to->inputs; i++) {
        const step *scatter = o->own_row[i] ? find_scatter(b, s->in[i].data) : NULL;
        own += o->own_row[i] != 0;
        fresh += scatter != NULL;
        if (scatter) n = stage_worse(n, find_own_row(b, scatter, o, i, to));
        n = stage_worse(
            n, stage_find_input(b, &s->in[i], o->sliced >> i & 1, scatter ? s->in[i].data : NULL, &to->operand[i]));
    }
    if (o->in_place)
        to->operand[0] = (stage_operand){.at = s->in[0].data, .local = STAGE_GLOBAL, .dtype = (uint8_t)s->in[0].dtype};
    return fresh && fresh < own ? NEED_BARRIER : n;
}

need stage_need_of_outputs(const stage_builder *b, const step *s, const stage_offer *o)
{
    need n = NEED_NOTHING;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        const tensor *t = &s->out[i];
        if (!t->data) continue;
        for (int64_t k = 0; k < b->constants.count; k++)
            if (spans_meet(span_of(t), (span){b->constants.at[k].from,
                                              (const char *)b->constants.at[k].from + b->constants.at[k].bytes}))
                return NEED_ANOTHER;
        n = stage_worse(n,
                        need_of(b, (touch){span_of(t), shape_count(t->shape), true, o->spread == STAGE_SLICED}, NULL));
    }
    span scratch = {s->scratch, (const char *)s->scratch + s->scratch_bytes};
    return s->scratch ? stage_worse(n, need_of(b, (touch){scratch, 0, true, false}, NULL)) : n;
}
