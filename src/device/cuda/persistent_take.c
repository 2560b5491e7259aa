/* Values that blocks hand to each other inside a persistent launch without a barrier: their makers publish them with the
 * launch's tag, a STAGE_TAKE waits for all tags and leaves the value whole in shared memory.
 */
#include "device/cuda/persistent_build.h"

static int64_t bytes_of(const made *m)
{
    return stage_rounded(m->count * ingot_dtype_bytes(m->dtype));
}

/* Results of one product are wanted together: what the same stage made. */
static bool are_taken_together(const made *a, const made *m)
{
    return a->interval == m->interval && a->stage == m->stage && a->spread == m->spread && a->dtype == m->dtype;
}

static int64_t bytes_to_take(const stage_builder *b, const made *m)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < b->made.count; i++)
        if (are_taken_together(&b->made.at[i], m)) bytes += bytes_of(&b->made.at[i]);
    return bytes;
}

/* The value's maker publishes it from now on; this block's stages find it in shared memory. */
static void take_one(stage_builder *b, made *m, stage *take)
{
    stage_operand *source = &b->intervals.at[m->interval].stages[m->stage].operand[m->operand];
    int64_t bytes = m->count * (ingot_dtype_bytes(m->dtype) == 2 ? 4 : 8);
    if (!source->tagged) {
        source->tagged = (uint16_t)b->tagged;
        b->tagged += (uint32_t)((bytes + STAGE_TAGGED - 1) / STAGE_TAGGED);
    }
    take->operand[take->inputs] =
        (stage_operand){.local = b->whole, .dtype = (uint8_t)m->dtype, .tagged = source->tagged};
    take->number[take->inputs++] = (int32_t)m->count;
    m->taken_in = b->intervals.count - 1;
    m->taken = b->whole;
    b->whole += (uint32_t)bytes_of(m);
}

static void take_value(stage_builder *b, const made *wanted)
{
    const made m = *wanted;
    stage take = {.kind = STAGE_TAKE};
    for (int64_t i = 0; i < b->made.count; i++)
        if (are_taken_together(&b->made.at[i], &m) && take.inputs < STAGE_SIDE_BY_SIDE)
            take_one(b, &b->made.at[i], &take);
    b->intervals.at[b->intervals.count - 1].stages[b->stages++] = take;
}

/* The first input that must be taken from other blocks; NULL: none. */
static const made *find_wanted(const stage_builder *b, const step *s, const stage_offer *o)
{
    stage_operand unused;
    for (int i = o->in_place; i < o->stage.inputs; i++)
        if (stage_find_input(b, &s->in[i], o->sliced >> i & 1, NULL, &unused) == NEED_TAKE)
            return stage_find_made(b, &s->in[i]);
    return NULL;
}

/* An interval with room for the step and for what it takes. Few stages go before one that waits: what follows it should lie
 * in the same interval. */
enum { MOST_BEFORE_TAKING = 2 };

need stage_make_room(stage_builder *b, const step *s, const stage_offer *o)
{
    const int64_t end = STAGE_AT_WHOLE + STAGE_WHOLE_BYTES;
    need n = NEED_BARRIER;
    for (int turn = 0; turn < 8 && !b->failed; turn++) {
        stage to = o->stage;
        n = stage_worse(stage_need_of_outputs(b, s, o), stage_find_inputs(b, s, o, &to));
        const made *wanted = n == NEED_TAKE ? find_wanted(b, s, o) : NULL;
        bool fits = b->stages < STAGES_TOGETHER && b->whole + stage_whole_bytes(s, o, &to) <= end;
        if (n < NEED_TAKE && fits) break;
        bool takes = wanted && b->stages + 1 < STAGES_TOGETHER && b->stages <= MOST_BEFORE_TAKING &&
                     b->whole + stage_whole_bytes(s, o, &to) + bytes_to_take(b, wanted) <= end;
        if (takes)
            take_value(b, wanted);
        else
            stage_begin_interval(b, n == NEED_BARRIER || (n == NEED_TAKE && (!wanted || !b->stages)));
    }
    return n;
}
