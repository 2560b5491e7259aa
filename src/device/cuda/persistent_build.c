/* From steps to the stages of a persistent launch: what lies where, and who waits for whom.
 *
 * Steps are taken in their order. One that must not overtake a stage of the interval under construction begins the next
 * interval, unless the block itself made all that the step reads of it: its own slice, or a value that every block makes
 * whole. Such values are read in shared memory. All outputs are written to their planned memory too, so a launch leaves
 * the same bytes behind as its steps one by one.
 */
#include "device/cuda/persistent_build.h"

typedef enum need { NEED_NOTHING, NEED_SYNC, NEED_BARRIER, NEED_ANOTHER } need; /* the last: another launch */

#define PUSH(b, array, ...)                                                                                            \
    do {                                                                                                               \
        if (!ARRAY_PUSH(&(b)->array, __VA_ARGS__)) (b)->failed = true;                                                 \
    } while (0)

static int64_t rounded(int64_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

static need worse(need a, need b)
{
    return a > b ? a : b;
}

static int64_t most_of_slice(const stage_builder *b, int64_t count)
{
    return (count + b->blocks - 1) / b->blocks;
}

void stage_builder_begin(stage_builder *b, const device_caps *caps, int blocks)
{
    *b = (stage_builder){
        .caps = caps, .blocks = blocks, .whole = STAGE_AT_WHOLE, .slices = STAGE_AT_SLICES, .kept = STAGE_AT_CONSTANTS};
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

/* ---- who waits for whom ---- */

/* `but`: writes to memory that begins there do not count. */
static need need_of(const stage_builder *b, touch t, const void *but)
{
    need n = NEED_NOTHING;
    for (int64_t i = 0; i < b->touched.count; i++) {
        const touch *o = &b->touched.at[i];
        if (!(t.writes || o->writes) || !spans_meet(t.at, o->at) || (but && o->writes && o->at.from == but)) continue;
        bool same = t.sliced && o->sliced && t.count == o->count && t.at.from == o->at.from && t.at.to == o->at.to;
        n = worse(n, same ? NEED_SYNC : NEED_BARRIER);
    }
    return n;
}

static const made *find_made(const stage_builder *b, const tensor *t)
{
    for (int64_t i = b->made.count - 1; i >= 0; i--) {
        const made *m = &b->made.at[i];
        if (m->at.from == t->data && m->count == shape_count(t->shape) && m->dtype == t->dtype) return m;
    }
    return NULL;
}

static bool is_written(const stage_builder *b, span at)
{
    for (int64_t i = 0; i < b->written.count; i++)
        if (spans_meet(b->written.at[i], at)) return true;
    return false;
}

/* A few integers that this launch does not write. */
static bool is_constant(const stage_builder *b, const tensor *t)
{
    return t->dtype == INGOT_I32 && shape_count(t->shape) <= 64 && !is_written(b, span_of(t));
}

/* Where an input is read: shared memory, where this block has it. */
static need find_input(const stage_builder *b, const tensor *t, bool sliced, const void *but, stage_operand *out)
{
    const made *m = find_made(b, t);
    *out = (stage_operand){.at = t->data, .local = STAGE_GLOBAL, .dtype = (uint8_t)t->dtype};
    bool now = m && m->interval == b->intervals.count - 1;
    if (m && m->local != STAGE_GLOBAL && ((m->spread == STAGE_WHOLE && now) || (m->spread == STAGE_SLICED && sliced))) {
        out->local = m->local;
        out->sliced = m->spread == STAGE_SLICED;
        return now ? NEED_SYNC : NEED_NOTHING;
    }
    for (int64_t i = 0; i < b->constants.count; i++)
        if (b->constants.at[i].from == t->data) out->local = b->constants.at[i].to;
    touch reads = {span_of(t), shape_count(t->shape), false, sliced};
    return need_of(b, reads, but);
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
    need n = worse(find_input(b, &scatter->in[1], false, NULL, &slot),
                   find_input(b, &scatter->in[2], false, NULL, &to->operand[o->own_row[input]]));
    const stage_operand *before = &to->operand[o->own_slot];
    if (before->at && before->at != slot.at) n = NEED_BARRIER; /* rows of other sequences */
    to->operand[o->own_slot] = slot;
    return n;
}

static need find_inputs(const stage_builder *b, const step *s, const stage_offer *o, stage *to)
{
    need n = NEED_NOTHING;
    int own = 0, fresh = 0;
    for (int i = o->in_place; i < to->inputs; i++) {
        const step *scatter = o->own_row[i] ? find_scatter(b, s->in[i].data) : NULL;
        own += o->own_row[i] != 0;
        fresh += scatter != NULL;
        if (scatter) n = worse(n, find_own_row(b, scatter, o, i, to));
        n = worse(n, find_input(b, &s->in[i], o->sliced >> i & 1, scatter ? s->in[i].data : NULL, &to->operand[i]));
    }
    if (o->in_place) to->operand[0] = (stage_operand){s->in[0].data, STAGE_GLOBAL, (uint8_t)s->in[0].dtype, 0};
    return fresh && fresh < own ? NEED_BARRIER : n;
}

static need need_of_outputs(const stage_builder *b, const step *s, const stage_offer *o)
{
    need n = NEED_NOTHING;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        const tensor *t = &s->out[i];
        if (!t->data) continue;
        for (int64_t k = 0; k < b->constants.count; k++)
            if (spans_meet(span_of(t), (span){b->constants.at[k].from,
                                              (const char *)b->constants.at[k].from + b->constants.at[k].bytes}))
                return NEED_ANOTHER;
        n = worse(n, need_of(b, (touch){span_of(t), shape_count(t->shape), true, o->spread == STAGE_SLICED}, NULL));
    }
    span scratch = {s->scratch, (const char *)s->scratch + s->scratch_bytes};
    return s->scratch ? worse(n, need_of(b, (touch){scratch, 0, true, false}, NULL)) : n;
}

/* ---- room ---- */

static int64_t packs_of(const tensor *w)
{
    return w->shape.dim[1] * ingot_dtype_bytes(w->dtype) / 16;
}

static int tiles_of(const stage_builder *b, const tensor *w)
{
    return (int)most_of_slice(b, w->shape.dim[0]) << stage_shift(packs_of(w));
}

static int64_t whole_bytes(const step *s, const stage_offer *o, const stage *to)
{
    int64_t bytes = 0;
    for (int i = 0; i < to->outputs && o->spread == STAGE_WHOLE; i++)
        bytes += rounded(shape_count(s->out[i].shape) * ingot_dtype_bytes(s->out[i].dtype));
    if (to->kind == STAGE_PRODUCTS) bytes += rounded(to->count * ingot_dtype_bytes(s->in[0].dtype));
    return bytes;
}

/* Room that a new interval does not make. */
static bool has_room(const stage_builder *b, const step *s, const stage_offer *o, const stage *to)
{
    if (whole_bytes(s, o, to) > STAGE_WHOLE_BYTES) return false;
    if ((b->code.count + o->code_count) * (int64_t)sizeof(stage_code) > STAGE_CODE_BYTES) return false;
    if (!o->weights) return true;
    return b->weights.count < STAGE_MATRICES && packs_of(o->weights) <= STAGE_MOST_PACKS &&
           tiles_of(b, o->weights) <= STAGE_WORK / 4 && !is_written(b, span_of(o->weights));
}

/* ---- taking a step in ---- */

static void begin_interval(stage_builder *b)
{
    PUSH(b, intervals, (stage_interval){0});
    b->touched.count = 0;
    b->stages = 0;
    b->whole = STAGE_AT_WHOLE;
    memset(b->scatter, 0, sizeof b->scatter);
}

static void keep_constants(stage_builder *b, const step *s)
{
    for (int i = 0; i < s->inputs; i++) {
        const tensor *t = &s->in[i];
        bool known = !t->data || !is_constant(b, t);
        for (int64_t k = 0; k < b->constants.count; k++) known |= b->constants.at[k].from == t->data;
        uint32_t bytes = known ? 0 : (uint32_t)shape_count(t->shape) * 4;
        if (known || b->kept + bytes > STAGE_AT_CONSTANTS + STAGE_CONSTANTS) continue;
        PUSH(b, constants, (stage_constant){t->data, b->kept, bytes});
        b->kept += (uint32_t)rounded(bytes);
    }
}

static uint32_t place_output(stage_builder *b, const tensor *t, stage_spread spread)
{
    int64_t size = ingot_dtype_bytes(t->dtype), count = shape_count(t->shape);
    uint32_t *next = spread == STAGE_WHOLE ? &b->whole : &b->slices, at = *next;
    int64_t bytes = rounded((spread == STAGE_WHOLE ? count : most_of_slice(b, count)) * size);
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

static void place_outputs(stage_builder *b, const step *s, const stage_offer *o, stage *to, int first)
{
    for (int i = 0; i < o->stage.outputs; i++) {
        const tensor *t = &s->out[i];
        stage_operand *operand = &to->operand[STAGE_INPUTS + first + i];
        *operand =
            (stage_operand){t->data, place_output(b, t, o->spread), (uint8_t)t->dtype, o->spread == STAGE_SLICED};
        PUSH(b, made,
             (made){span_of(t), b->intervals.count - 1, shape_count(t->shape), operand->local, o->spread, t->dtype});
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
        last->operand[0].at != s->in[0].data || last->number[4] == STAGE_SIDE_BY_SIDE ||
        b->tiles + tiles_of(b, o->weights) > STAGE_WORK / 4 || need_of_outputs(b, s, o) != NEED_NOTHING)
        return false;
    int at = last->number[4]++;
    last->number[at] = (int32_t)o->weights->shape.dim[0];
    note_touched(b, s, o);
    place_outputs(b, s, o, last, at);
    return true;
}

static int code_at(stage_builder *b, const stage_offer *o)
{
    for (int64_t i = 0; i + o->code_count <= b->code.count; i++)
        if (!memcmp(b->code.at + i, o->code, sizeof *o->code * (size_t)o->code_count)) return (int)i;
    for (int i = 0; i < o->code_count; i++) PUSH(b, code, o->code[i]);
    return (int)b->code.count - o->code_count;
}

static void add_stage(stage_builder *b, const step *s, const stage_offer *o, need n)
{
    stage to = o->stage;
    (void)find_inputs(b, s, o, &to);
    for (int i = 0; i < b->stages; i++)
        if (uses_work(b->intervals.at[b->intervals.count - 1].stages[i].kind) && uses_work(to.kind)) n = NEED_SYNC;
    to.sync = n != NEED_NOTHING;
    if (to.kind == STAGE_POINTWISE) to.number[0] = code_at(b, o);
    if (to.kind == STAGE_PRODUCTS && to.operand[0].local == STAGE_GLOBAL) {
        to.number[5] = (int32_t)b->whole;
        b->whole += (uint32_t)rounded(to.count * ingot_dtype_bytes(s->in[0].dtype));
    }
    b->counted = MAX(b->counted, o->counted);
    b->scatter[b->stages] = to.kind == STAGE_SCATTER ? s : NULL;
    note_touched(b, s, o);
    place_outputs(b, s, o, &to, 0);
    if (!b->failed) b->intervals.at[b->intervals.count - 1].stages[b->stages++] = to;
}

static bool offer_of(const stage_builder *b, const step *s, stage_offer *o)
{
    *o = (stage_offer){0};
    for (int i = 0; i < STAGE_OPERANDS; i++) o->stage.operand[i].local = STAGE_GLOBAL;
    return s->kernel->stage && s->kernel->stage(s, b->caps, o);
}

bool stage_builder_add(stage_builder *b, const step *s)
{
    stage_offer o;
    if (!offer_of(b, s, &o) || !has_room(b, s, &o, &o.stage)) return false;
    need n = need_of_outputs(b, s, &o);
    if (n == NEED_ANOTHER) return false;
    keep_constants(b, s);
    stage to = o.stage;
    if (b->intervals.count) n = worse(n, find_inputs(b, s, &o, &to));
    if (!b->intervals.count || n == NEED_BARRIER) begin_interval(b), n = NEED_NOTHING;
    if (!b->failed && !(n != NEED_BARRIER && join_product(b, s, &o))) {
        bool full = b->stages == STAGES_TOGETHER ||
                    b->whole + whole_bytes(s, &o, &o.stage) > STAGE_AT_WHOLE + STAGE_WHOLE_BYTES;
        if (full) begin_interval(b), n = NEED_NOTHING;
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
