/* From steps to the stages of a persistent launch: what lies where.
 *
 * Steps are taken in their order. What a block made itself, its slice or a value that every block makes whole, is read in
 * shared memory; what others made is taken from them (persistent_take.c); where neither will do, a barrier begins an interval.
 * All outputs are written to their planned memory too, so a launch leaves the same bytes behind as its steps one by one.
 */
#include "device/cuda/persistent_build.h"

#include "ops/matmul/products_stage_cuda.h"
#include "ops/pointwise/pointwise_stage_cuda.h"
#include "ops/rope/rope_stage_cuda.h"

static int64_t most_of_slice(const stage_builder *b, int64_t count)
{
    return (count + b->blocks - 1) / b->blocks;
}

void stage_builder_begin(stage_builder *b, const device_caps *caps, int blocks)
{
    *b = (stage_builder){.caps = caps,
                         .blocks = blocks,
                         .whole = STAGE_AT_WHOLE,
                         .slices = STAGE_AT_SLICES,
                         .kept = STAGE_AT_CONSTANTS,
                         .tagged = 1};
}

void stage_builder_free(stage_builder *b)
{
    ARRAY_FREE(&b->intervals);
    ARRAY_FREE(&b->weights);
    ARRAY_FREE(&b->code);
    ARRAY_FREE(&b->constants);
    ARRAY_FREE(&b->made);
    ARRAY_FREE(&b->touched);
    ARRAY_FREE(&b->written);
}

static int64_t packs_of(const tensor *w)
{
    return w->shape.dim[1] * ingot_dtype_bytes(w->dtype) / 16;
}

static int tiles_of(const stage_builder *b, const tensor *w)
{
    return (int)most_of_slice(b, w->shape.dim[0]) << stage_shift(packs_of(w));
}

int64_t stage_whole_bytes(const step *s, const stage_offer *o, const stage *to)
{
    int64_t bytes = 0;
    for (int i = 0; i < to->outputs && o->spread == STAGE_WHOLE; i++)
        bytes += stage_rounded(shape_count(s->out[i].shape) * ingot_dtype_bytes(s->out[i].dtype));
    if (to->kind == STAGE_PRODUCTS) bytes += stage_rounded(to->count * ingot_dtype_bytes(s->in[0].dtype));
    return bytes;
}

/* Room that a new interval does not make. */
static bool has_room(const stage_builder *b, const step *s, const stage_offer *o, const stage *to)
{
    if (stage_whole_bytes(s, o, to) > STAGE_WHOLE_BYTES) return false;
    if ((b->code.count + o->code_count) * (int64_t)sizeof(stage_code) > STAGE_CODE_BYTES) return false;
    if (!o->weights) return true;
    return b->weights.count < STAGE_MATRICES && packs_of(o->weights) <= STAGE_MOST_PACKS &&
           tiles_of(b, o->weights) <= STAGE_WORK / 4 && !stage_is_written(b, span_of(o->weights));
}

void stage_begin_interval(stage_builder *b, bool barrier)
{
    PUSH(b, intervals, (stage_interval){.barrier = barrier && b->intervals.count});
    if (barrier) b->touched.count = 0;
    b->stages = b->tiles = 0;
    b->whole = STAGE_AT_WHOLE;
    memset(b->scatter, 0, sizeof b->scatter);
}

static void keep_constants(stage_builder *b, const step *s)
{
    for (int i = 0; i < s->inputs; i++) {
        const tensor *t = &s->in[i];
        bool known = !t->data || !stage_is_constant(b, t);
        for (int64_t k = 0; k < b->constants.count; k++) known |= b->constants.at[k].from == t->data;
        uint32_t bytes = known ? 0 : (uint32_t)shape_count(t->shape) * 4;
        if (known || b->kept + bytes > STAGE_AT_CONSTANTS + STAGE_CONSTANTS) continue;
        PUSH(b, constants, (stage_constant){t->data, b->kept, bytes});
        b->kept += (uint32_t)stage_rounded(bytes);
    }
}

static uint32_t place_output(stage_builder *b, const tensor *t, stage_spread spread)
{
    int64_t size = ingot_dtype_bytes(t->dtype), count = shape_count(t->shape);
    uint32_t *next = spread == STAGE_WHOLE ? &b->whole : &b->slices, at = *next;
    int64_t bytes = stage_rounded((spread == STAGE_WHOLE ? count : most_of_slice(b, count)) * size);
    if (spread == STAGE_ITEMS || (spread == STAGE_SLICED && at + bytes > STAGE_AT_SLICES + STAGE_SLICES))
        return STAGE_GLOBAL;
    *next += (uint32_t)bytes;
    return at;
}

static void forget(stage_builder *b, span at)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < b->made.count; i++)
        if (!spans_meet(b->made.at[i].at, at)) b->made.at[kept++] = b->made.at[i];
    b->made.count = kept;
}

static void note_touched(stage_builder *b, const step *s, const stage_offer *o)
{
    for (int i = o->in_place; i < s->inputs; i++)
        if (s->in[i].data)
            PUSH(b, touched, (touch){span_of(&s->in[i]), shape_count(s->in[i].shape), false, o->sliced >> i & 1});
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        if (!s->out[i].data) continue;
        span at = span_of(&s->out[i]);
        PUSH(b, touched, (touch){at, shape_count(s->out[i].shape), true, o->spread == STAGE_SLICED});
        PUSH(b, written, at);
        forget(b, at);
    }
    if (!s->scratch) return;
    span scratch = {s->scratch, (const char *)s->scratch + s->scratch_bytes};
    PUSH(b, touched, (touch){scratch, 0, true, false});
    PUSH(b, written, scratch);
}

static void place_outputs(stage_builder *b, const step *s, const stage_offer *o, stage *to, int at, int first)
{
    for (int i = 0; i < o->stage.outputs; i++) {
        const tensor *t = &s->out[i];
        stage_operand *operand = &to->operand[STAGE_INPUTS + first + i];
        *operand = (stage_operand){.at = t->data,
                                   .local = place_output(b, t, o->spread),
                                   .dtype = (uint8_t)t->dtype,
                                   .sliced = o->spread == STAGE_SLICED};
        PUSH(b, made,
             (made){.at = span_of(t),
                    .interval = b->intervals.count - 1,
                    .count = shape_count(t->shape),
                    .local = operand->local,
                    .spread = o->spread,
                    .dtype = t->dtype,
                    .stage = at,
                    .operand = STAGE_INPUTS + first + i,
                    .taken_in = -1});
    }
}

static bool uses_work(int kind)
{
    return kind == STAGE_RMS_NORM || kind == STAGE_PRODUCTS || kind == STAGE_ATTEND;
}

/* A product joins the one before it, when both have the same left side. */
static bool join_product(stage_builder *b, const step *s, const stage_offer *o)
{
    stage *last = b->stages ? &b->intervals.at[b->intervals.count - 1].stages[b->stages - 1] : NULL;
    if (o->stage.kind != STAGE_PRODUCTS || !last || last->kind != STAGE_PRODUCTS || last->count != o->stage.count ||
        last->operand[0].at != s->in[0].data || last->number[PRODUCTS_MATRICES] == STAGE_SIDE_BY_SIDE ||
        b->tiles + tiles_of(b, o->weights) > STAGE_WORK / 4 || stage_need_of_outputs(b, s, o) != NEED_NOTHING)
        return false;
    int at = last->number[PRODUCTS_MATRICES]++;
    last->number[at] = (int32_t)o->weights->shape.dim[0];
    note_touched(b, s, o);
    place_outputs(b, s, o, last, b->stages - 1, at);
    return true;
}

/* Rotary positions of queries and of keys are one stage. */
static bool join_rope(stage_builder *b, const step *s, const stage_offer *o)
{
    stage *last = b->stages ? &b->intervals.at[b->intervals.count - 1].stages[b->stages - 1] : NULL;
    stage to = o->stage;
    if (to.kind != STAGE_ROPE || !last || last->kind != STAGE_ROPE || last->number[ROPE_MORE_HEADS] ||
        last->operand[1].at != s->in[1].data || last->operand[2].at != s->in[2].data ||
        memcmp(last->number + ROPE_DIM, to.number + ROPE_DIM, sizeof to.number - ROPE_DIM * sizeof *to.number) ||
        stage_need_of_outputs(b, s, o) != NEED_NOTHING ||
        stage_find_inputs(b, s, o, &to) > (last->sync ? NEED_SYNC : NEED_NOTHING) ||
        b->whole + stage_whole_bytes(s, o, &to) > STAGE_AT_WHOLE + STAGE_WHOLE_BYTES)
        return false;
    last->number[ROPE_MORE_HEADS] = to.number[ROPE_HEADS];
    last->operand[ROPE_MORE] = to.operand[0];
    note_touched(b, s, o);
    place_outputs(b, s, o, last, b->stages - 1, 1);
    return true;
}

static int code_at(stage_builder *b, const stage_offer *o)
{
    for (int64_t i = 0; i + o->code_count <= b->code.count; i++)
        if (!memcmp(b->code.at + i, o->code, sizeof *o->code * (size_t)o->code_count)) return (int)i;
    for (int i = 0; i < o->code_count; i++) PUSH(b, code, o->code[i]);
    return (int)b->code.count - o->code_count;
}

/* A stage that reads rows where they were made goes before those that take them to their pools. */
static int place_stage(stage_builder *b, const step *s, int kind, bool before_scatters)
{
    stage *stages = b->intervals.at[b->intervals.count - 1].stages;
    int at = b->stages++;
    for (; before_scatters && at && b->scatter[at - 1]; at--) {
        stages[at] = stages[at - 1];
        b->scatter[at] = b->scatter[at - 1];
    }
    b->scatter[at] = kind == STAGE_SCATTER ? s : NULL;
    return at;
}

/* A norm's gains are brought while the row that it is of is waited for. */
static void bring_gains(stage_builder *b, const step *s, stage *take, stage *norm)
{
    int64_t bytes = shape_count(s->in[1].shape) * ingot_dtype_bytes(s->in[1].dtype);
    if (take->kind != STAGE_TAKE || norm->kind != STAGE_RMS_NORM || bytes % 16 || (uintptr_t)s->in[1].data % 16 ||
        stage_is_written(b, span_of(&s->in[1])) || b->whole + bytes > STAGE_AT_WHOLE + STAGE_WHOLE_BYTES)
        return;
    take->operand[STAGE_INPUTS] = (stage_operand){.at = s->in[1].data, .local = b->whole};
    take->number[STAGE_INPUTS] = (int32_t)(bytes / 16);
    norm->operand[1].local = b->whole;
    norm->sync = 1;
    b->whole += (uint32_t)stage_rounded(bytes);
}

static void add_stage(stage_builder *b, const step *s, const stage_offer *o, need n)
{
    stage to = o->stage;
    (void)stage_find_inputs(b, s, o, &to);
    stage *stages = b->intervals.at[b->intervals.count - 1].stages;
    for (int i = 0; i < b->stages; i++)
        if (uses_work(stages[i].kind) && uses_work(to.kind)) n = NEED_SYNC;
    to.sync = n != NEED_NOTHING;
    if (to.kind == STAGE_POINTWISE) to.number[POINTWISE_FIRST] = code_at(b, o);
    if (to.kind == STAGE_PRODUCTS && to.operand[0].local == STAGE_GLOBAL) {
        to.number[PRODUCTS_COPY] = (int32_t)b->whole;
        b->whole += (uint32_t)stage_rounded(to.count * ingot_dtype_bytes(s->in[0].dtype));
    }
    b->counted = MAX(b->counted, o->counted);
    int at = place_stage(b, s, to.kind, o->own_slot && to.operand[o->own_slot].at);
    note_touched(b, s, o);
    place_outputs(b, s, o, &to, at, 0);
    stages[at] = to;
    if (at) bring_gains(b, s, &stages[at - 1], &stages[at]);
}

static bool offer_of(const stage_builder *b, const step *s, stage_offer *o)
{
    *o = (stage_offer){0};
    for (int i = 0; i < STAGE_OPERANDS; i++) o->stage.operand[i].local = STAGE_GLOBAL;
    return s->kernel->stage && s->kernel->stage(s, b->caps, o);
}

/* All stages of a launch compute with one dtype; pointwise ones of float32 go with any. */
static bool fits_dtype(stage_builder *b, const stage_offer *o)
{
    bool any = o->stage.kind == STAGE_POINTWISE && o->dtype == INGOT_F32;
    if (any || (b->dtype_known && b->dtype == o->dtype)) return true;
    if (b->dtype_known) return false;
    b->dtype = o->dtype;
    return b->dtype_known = true;
}

bool stage_builder_add(stage_builder *b, const step *s)
{
    stage_offer o;
    if (!offer_of(b, s, &o) || !has_room(b, s, &o, &o.stage) || !fits_dtype(b, &o)) return false;
    if (stage_need_of_outputs(b, s, &o) == NEED_ANOTHER) return false;
    keep_constants(b, s);
    if (!b->intervals.count) stage_begin_interval(b, false);
    if (!b->failed && !join_product(b, s, &o) && !join_rope(b, s, &o)) {
        need n = stage_make_room(b, s, &o);
        if (!b->failed) add_stage(b, s, &o, n);
        b->tiles = 0;
    }
    if (o.weights) {
        int64_t packs = packs_of(o.weights);
        PUSH(b, weights,
             (stage_weights){o.weights->data, (int32_t)o.weights->shape.dim[0], (uint16_t)packs,
                             (uint16_t)stage_shift(packs)});
        b->tiles += tiles_of(b, o.weights);
    }
    b->steps++;
    return !b->failed;
}
