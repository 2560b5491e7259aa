/* Which steps go into rowwise launches.
 *
 * A launch begins with any step that a stage can do and takes those after it that can follow, as long as no row needs another
 * one of what the launch makes. Steps in between that cannot, gradients of weights, run behind the launch: what needs them, or what
 * they change, stays out of it. Concatenations whose parts were made in their places are nothing to do.
 */
#include "device/cuda/rowwise.h"

#include "graph/spans.h"
#include "ops/concat/concat.h"
#include "ops/linear/linear.h"
#include "ops/matmul/matmul.h"
#include "ops/pointwise/pointwise.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"

/* A large matrix is read faster by many blocks, which each read a part of it; here each reads it all. So are few rows by a
 * kernel for each step, and more rows than run at a time. */
enum { MOST_WEIGHT_BYTES = 192 << 10, LEAST_ROWS = 256, MOST_BETWEEN = 8, MOST_ACCESSES = 12 };

/* What a step touches. By rows: a block touches `bytes` of each of its rows, `pitch` bytes apart. */
typedef struct access {
    span at;
    int64_t pitch, bytes; /* pitch 0: not by rows */
    bool writes;
} access;

typedef struct offer {
    rowwise_stage stage;
    bool nothing; /* to do */
    bool rests;   /* the weights do */
    ingot_dtype dtype;
    int64_t rows;
    access accesses[MOST_ACCESSES];
    int count;
} offer;

static bool is_sixteen(ingot_dtype d)
{
    return d == INGOT_BF16 || d == INGOT_F16;
}

static void touches(offer *o, span at, int64_t pitch, int64_t bytes, bool writes)
{
    o->accesses[o->count++] = (access){at, pitch, bytes, writes};
}

static void touches_all(offer *o, const tensor *t, bool writes)
{
    if (t->data) touches(o, span_of(t), 0, 0, writes);
}

/* t as o->rows rows whose elements lie side by side, each beginning at `align` bytes. */
static bool by_rows(offer *o, const tensor *t, int align, bool writes, rowwise_rows *out)
{
    int64_t size = ingot_dtype_bytes(t->dtype), count = shape_count(t->shape), inside = 1, next = 0;
    int d = (int)t->shape.rank - 1;
    if (!t->data || count % o->rows || (uintptr_t)t->data % (unsigned)align) return false;
    for (; d >= 0 && inside < count / o->rows; d--) {
        if (t->shape.dim[d] > 1 && t->stride[d] != inside) return false;
        inside *= t->shape.dim[d];
    }
    if (inside != count / o->rows) return false;
    int64_t pitch = inside;
    for (; d >= 0; d--) {
        if (t->shape.dim[d] == 1) continue;
        if (next && t->stride[d] != next) return false;
        if (!next) pitch = t->stride[d];
        next = t->stride[d] * t->shape.dim[d];
    }
    touches(o, span_of(t), pitch * size, inside * size, writes);
    *out = (rowwise_rows){t->data, (int32_t)(pitch * size), (int32_t)(inside * size), 0, 0};
    return pitch * size % align == 0 && inside * size % align == 0 && pitch * size <= INT32_MAX / 2;
}

static int64_t columns_of(const tensor *t)
{
    return t->shape.dim[t->shape.rank - 1];
}

/* Of one dtype of 16 bits; its rows are what x has in front of its last dim. */
static bool begins(offer *o, rowwise_kind kind, const tensor *x)
{
    o->stage.kind = kind;
    o->dtype = x->dtype;
    o->stage.columns = (int32_t)MIN(columns_of(x), INT32_MAX);
    o->rows = shape_count(x->shape) / MAX(columns_of(x), 1);
    return is_sixteen(x->dtype) && o->rows % ROWWISE_ROWS == 0;
}

static bool gains(offer *o, const tensor *w)
{
    o->stage.weights = w->data;
    o->stage.wide = w->dtype == INGOT_F32;
    touches_all(o, w, false);
    return (w->dtype == INGOT_F32 || w->dtype == o->dtype) && (uintptr_t)w->data % 16 == 0;
}

static bool offer_norm(const step *s, offer *o)
{
    const tensor *y = &s->out[RMS_NORM_Y], *rstd = &s->out[RMS_NORM_RSTD];
    return begins(o, ROWWISE_NORM, &s->in[0]) && o->stage.columns <= ROWWISE_COLUMNS && o->stage.columns % 8 == 0 &&
           y->dtype == o->dtype && by_rows(o, &s->in[0], 16, false, &o->stage.in[0]) &&
           by_rows(o, y, 16, true, &o->stage.out[0]) && gains(o, &s->in[1]) &&
           (!rstd->data || by_rows(o, rstd, 4, true, &o->stage.out[1])) &&
           (o->stage.eps = (float)ATTRS_OF(rms_norm_attrs, s->node)->eps, true);
}

/* x (M, K) by a matrix of weights, with what is added. */
static bool offer_product(const step *s, const tensor *more, offer *o)
{
    const tensor *x = &s->in[0], *w = &s->in[1], *y = &s->out[0];
    if (!begins(o, ROWWISE_PRODUCT, x) || w->shape.rank != 2 || w->dtype != o->dtype || y->dtype != o->dtype ||
        w->stride[1] != 1 || w->stride[0] % 8 || (uintptr_t)w->data % 16 ||
        shape_count(w->shape) * 2 > MOST_WEIGHT_BYTES || shape_count(y->shape) / columns_of(y) != o->rows)
        return false;
    o->stage.depth = o->stage.columns;
    o->stage.columns = (int32_t)columns_of(y);
    o->stage.weights = w->data, o->stage.weights_pitch = w->stride[0];
    o->rests = s->resting >> 1 & 1;
    touches_all(o, w, false);
    if (o->stage.depth % 16 || o->stage.depth > ROWWISE_DEPTH || o->stage.columns % ROWWISE_WIDE) return false;
    if (more && (more->dtype != o->dtype || !by_rows(o, more, 16, false, &o->stage.in[1]))) return false;
    return by_rows(o, x, 16, false, &o->stage.in[0]) && by_rows(o, y, 16, true, &o->stage.out[0]);
}

static bool offer_rope(const step *s, offer *o)
{
    const rope_attrs *a = ATTRS_OF(rope_attrs, s->node);
    const tensor *x = &s->in[0], *table = &s->in[2];
    rope_shape p = rope_shape_of(s);
    if (!begins(o, ROWWISE_ROPE, x) || a->interleaved || a->inverse || p.turned != p.dim || p.dim % 8 ||
        p.rows * p.heads != o->rows)
        return false;
    o->rows = p.rows; /* of tokens; `begins` has counted heads */
    o->stage.depth = (int32_t)p.heads;
    o->stage.positions = (int32_t)MIN(p.positions, INT32_MAX);
    return o->rows % ROWWISE_ROWS == 0 && s->out[0].dtype == o->dtype && by_rows(o, x, 16, false, &o->stage.in[0]) &&
           by_rows(o, &s->in[1], 4, false, &o->stage.in[1]) && by_rows(o, &s->out[0], 16, true, &o->stage.out[0]) &&
           gains(o, table);
}

/* The formula as dumps print it. */
static bool is_swiglu(const pw_program *p)
{
    text said = {0};
    pw_print(p, &said);
    bool is = said.at && !strcmp(said.at, "((a * sigmoid(a)) * b)") && p->inputs == 2 && p->outputs == 1;
    text_free(&said);
    return is;
}

static bool offer_swiglu(const step *s, offer *o)
{
    if (!is_swiglu(s->node->attrs) || !begins(o, ROWWISE_SWIGLU, &s->out[0]) || o->stage.columns % 8) return false;
    for (int i = 0; i < s->inputs; i++)
        if (s->in[i].dtype != o->dtype || !shape_equal(s->in[i].shape, s->out[0].shape) ||
            !by_rows(o, &s->in[i], 16, false, &o->stage.in[i]))
            return false;
    return by_rows(o, &s->out[0], 16, true, &o->stage.out[0]);
}

static bool offer_concat(const step *s, offer *o)
{
    for (int i = 0; i < s->inputs; i++)
        if (!concat_in_place(s, i)) return false;
    return o->nothing = true;
}

static bool offer_of(const step *s, offer *o)
{
    const op_def *op = s->node ? s->node->op : NULL;
    *o = (offer){0};
    if (op == &op_rms_norm_def) return offer_norm(s, o);
    if (op == &op_rope_def) return offer_rope(s, o);
    if (op == &op_pointwise_def) return offer_swiglu(s, o);
    if (op == &op_concat_def) return offer_concat(s, o);
    if (op == &op_linear_add_def)
        return !s->in[2].data && !ATTRS_OF(linear_attrs, s->node)->in_out && offer_product(s, &s->in[LINEAR_ADD_C], o);
    if (op != &op_matmul_def || ATTRS_OF(matmul_attrs, s->node)->trans_a || !ATTRS_OF(matmul_attrs, s->node)->trans_b)
        return false;
    return offer_product(s, s->inputs > 2 && s->in[2].data ? &s->in[2] : NULL, o);
}

/* Whether only the same rows of both meet: they lie in one window of a row's pitch. */
static bool same_rows(const access *a, const access *b)
{
    const char *from = a->at.from < b->at.from ? a->at.from : b->at.from;
    const char *to = a->at.from + a->bytes > b->at.from + b->bytes ? a->at.from + a->bytes : b->at.from + b->bytes;
    return a->pitch && a->pitch == b->pitch && to - from <= a->pitch;
}

static bool is_left_side(const offer *o, const access *a)
{
    return o->stage.kind == ROWWISE_PRODUCT && !a->writes && a->at.from == (const char *)o->stage.in[0].at;
}

/* Stages follow each other within a block, so rows that are its own are in order. Within a stage there is no order: an output
 * lies over an input exactly, or not at all; a product's not over its left side, which all warps read. */
static bool can_follow(const offer *later, const offer *earlier)
{
    for (int i = 0; i < later->count; i++)
        for (int k = 0; k < earlier->count; k++) {
            const access *a = &later->accesses[i], *b = &earlier->accesses[k];
            if (!(a->writes || b->writes) || !spans_meet(a->at, b->at) || (later == earlier && i == k)) continue;
            bool fine = later != earlier
                            ? same_rows(a, b)
                            : a->pitch && a->pitch == b->pitch && a->at.from == b->at.from && a->writes != b->writes &&
                                  !is_left_side(later, a) && !is_left_side(later, b);
            if (!fine && !(later == earlier && same_rows(a, b) &&
                           (a->at.from + a->bytes <= b->at.from || b->at.from + b->bytes <= a->at.from)))
                return false;
        }
    return true;
}

static int spans_of_step(const step *s, span *reads, int *writes_count, span *writes)
{
    int count = 0;
    *writes_count = 0;
    for (int i = 0; i < s->inputs && count < OP_MAX_INPUTS; i++)
        if (s->in[i].data) reads[count++] = span_of(&s->in[i]);
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (s->out[i].data) writes[(*writes_count)++] = span_of(&s->out[i]);
    if (s->scratch) writes[(*writes_count)++] = (span){s->scratch, (const char *)s->scratch + s->scratch_bytes};
    return count;
}

/* Whether two steps may change places. */
static bool are_apart(const step *a, const step *b)
{
    span reads[2][OP_MAX_INPUTS], writes[2][NODE_MAX_OUTPUTS + 1];
    int wrote[2],
        read[2] = {spans_of_step(a, reads[0], &wrote[0], writes[0]), spans_of_step(b, reads[1], &wrote[1], writes[1])};
    return !any_spans_meet(writes[0], wrote[0], writes[1], wrote[1]) &&
           !any_spans_meet(writes[0], wrote[0], reads[1], read[1]) &&
           !any_spans_meet(reads[0], read[0], writes[1], wrote[1]);
}

typedef struct builder {
    const work *w;
    rowwise_run run;
    offer offers[ROWWISE_STEPS];
    int64_t rows, passed[ROWWISE_STEPS * MOST_BETWEEN]; /* steps in between that stay out */
    int passed_count;
    int64_t least_rows, most_rows;
    bool early;
    int room; /* of a block's values */
} builder;

/* Where its rows have room beside those of the others. */
static bool add_stage(builder *b, const offer *o)
{
    rowwise_launch l = b->run.launch;
    l.stage[l.stages++] = o->stage;
    if (!rowwise_place(&l, b->room)) return false;
    b->run.launch = l;
    return true;
}

static bool add_step(builder *b, int64_t index)
{
    const step *s = &b->w->steps[index];
    rowwise_run *r = &b->run;
    offer *o = &b->offers[r->count];
    if (r->count == ROWWISE_STEPS || r->launch.stages == ROWWISE_STAGES || !offer_of(s, o)) return false;
    if (o->nothing && !r->launch.stages) return false;
    if (!o->nothing && (o->rows < b->least_rows || o->rows > b->most_rows)) return false;
    if (!o->nothing && r->launch.stages && (o->rows != b->rows || o->dtype != r->dtype)) return false;
    if (!can_follow(o, o)) return false;
    for (int i = 0; i < r->count; i++)
        if (!can_follow(o, &b->offers[i])) return false;
    for (int i = 0; i < b->passed_count; i++)
        if (!are_apart(s, &b->w->steps[b->passed[i]])) return false;
    if (!o->nothing && !add_stage(b, o)) return false;
    r->steps[r->count++] = index;
    if (o->nothing) return true;
    if (r->launch.stages == 1) {
        b->rows = o->rows;
        b->early = true;
        r->dtype = o->dtype;
        r->launch.blocks = (int32_t)(o->rows / ROWWISE_ROWS);
    }
    b->early &= o->stage.kind != ROWWISE_PRODUCT || o->rests;
    return true;
}

/* From `first` on, until nothing fits any more. */
static void collect(builder *b, int64_t first, const bool *taken)
{
    int between = 0;
    for (int64_t i = first; i < b->w->count && between <= MOST_BETWEEN; i++) {
        if (!taken[i] && add_step(b, i)) {
            between = 0;
            continue;
        }
        if (i == first || b->passed_count == (int)COUNT(b->passed)) break;
        b->passed[b->passed_count++] = i;
        between++;
    }
}

status rowwise_find(device *d, const work *w, int least, bool *taken, rowwise *out)
{
    rowwise_free(out);
    int room = rowwise_room();
    if (!room) return INGOT_OK;
    builder *b = malloc(sizeof *b);
    status s = b ? INGOT_OK : fail_memory(d->ctx, "a launch of rows", sizeof *b);
    for (int64_t i = 0; i < w->count && !s; i++) {
        memset(b, 0, sizeof *b);
        b->w = w;
        b->room = room;
        b->least_rows = least == 1 ? ROWWISE_ROWS : LEAST_ROWS; /* 1 is for tests */
        b->most_rows = least == 1 ? INT32_MAX : (int64_t)ROWWISE_ROWS * d->caps->multiprocessors;
        if (!taken[i]) collect(b, i, taken);
        if (b->run.launch.stages < MAX(least, 2)) continue;
        b->run.launch.early = b->early;
        if (!ARRAY_PUSH(&out->runs, b->run)) s = fail_memory(d->ctx, "a launch of rows", sizeof b->run);
        for (int k = 0; k < b->run.count; k++) taken[b->run.steps[k]] = true;
    }
    free(b);
    return s;
}

void rowwise_free(rowwise *r)
{
    ARRAY_FREE(&r->runs);
}

const rowwise_run *rowwise_with(const rowwise *r, int64_t step)
{
    for (int64_t i = 0; i < r->runs.count; i++)
        for (int k = 0; k < r->runs.at[i].count; k++)
            if (r->runs.at[i].steps[k] == step) return &r->runs.at[i];
    return NULL;
}
