/* Where the rows of a rowwise launch lie in a block's shared memory.
 *
 * Rows that overlap in memory are a region: it has one place, in which each byte of a row lies as it does in memory, so that
 * parts of a tensor are found wherever they were made or brought. What a stage reads and none before it wrote is brought
 * before the first stage. A region's place is free again behind the stage that touches it last.
 */
#include "device/cuda/rowwise.h"

enum { CHUNK = 16, MOST_CHUNKS = 256, MOST_REGIONS = 96 };

typedef struct region {
    const char *from, *to; /* of row 0 */
    int32_t pitch, bytes;  /* in shared memory: from row to row; of all */
    int64_t rows_pitch;    /* in memory */
    int first, last;       /* the stages that touch it; -1: before the first one */
    int32_t local;
    bool there[MOST_CHUNKS];
} region;

typedef struct placer {
    rowwise_launch *l;
    region regions[MOST_REGIONS];
    int count, of_fetch[ROWWISE_FETCHES];
} placer;

static int32_t rounded(int64_t bytes)
{
    return (int32_t)((bytes + CHUNK - 1) / CHUNK * CHUNK);
}

static bool reads_rows(const rowwise_stage *s, int input)
{
    return s->in[input].at && !(s->kind == ROWWISE_ROPE && input == 1);
}

static region *region_of(placer *p, const rowwise_rows *r)
{
    const char *at = r->at;
    for (int i = 0; i < p->count; i++) {
        region *g = &p->regions[i];
        if (g->rows_pitch == r->pitch && at < g->to && g->from < at + r->bytes) return g;
    }
    return NULL;
}

/* Takes in the regions that it meets. */
static bool add_rows(placer *p, const rowwise_rows *r, int stage)
{
    region joined = {
        .from = r->at, .to = (char *)r->at + r->bytes, .rows_pitch = r->pitch, .first = stage, .last = stage};
    for (int i = 0; i < p->count;) {
        const region *g = &p->regions[i];
        if (g->rows_pitch != joined.rows_pitch || g->from >= joined.to || joined.from >= g->to) {
            i++;
            continue;
        }
        joined.from = MIN(joined.from, g->from), joined.to = MAX(joined.to, g->to);
        joined.first = MIN(joined.first, g->first), joined.last = MAX(joined.last, g->last);
        p->regions[i] = p->regions[--p->count];
        i = 0;
    }
    if (p->count == MOST_REGIONS || joined.to - joined.from > MOST_CHUNKS * CHUNK) return false;
    p->regions[p->count++] = joined;
    return true;
}

static bool add_all_rows(placer *p)
{
    for (int i = 0; i < p->l->stages; i++) {
        const rowwise_stage *s = &p->l->stage[i];
        for (int k = 0; k < ROWWISE_INPUTS; k++)
            if (reads_rows(s, k) && !add_rows(p, &s->in[k], i)) return false;
        /* A product's are written to memory while the next stage runs. */
        for (int k = 0; k < ROWWISE_OUTPUTS; k++)
            if (s->out[k].at && !(add_rows(p, &s->out[k], i) && add_rows(p, &s->out[k], i + 1))) return false;
    }
    for (int i = 0; i < p->count; i++) {
        region *g = &p->regions[i];
        g->pitch = (rounded(g->to - g->from) / CHUNK | 1) * CHUNK; /* eight rows in different banks */
        g->bytes = g->pitch * ROWWISE_ROWS;
    }
    return true;
}

static rowwise_fetch *add_fetch(placer *p, int region)
{
    if (p->l->fetches == ROWWISE_FETCHES) return NULL;
    p->of_fetch[p->l->fetches] = region;
    return &p->l->fetch[p->l->fetches++];
}

/* A place that no tensor has. */
static region *add_region(placer *p, int first, int last, int32_t pitch, int32_t bytes)
{
    if (p->count == MOST_REGIONS) return NULL;
    p->regions[p->count] = (region){.first = first, .last = last, .pitch = pitch, .bytes = bytes};
    return &p->regions[p->count++];
}

/* Behind what is brought last; in whole chunks. */
static bool continues_fetch(placer *p, int region, int begin, int end)
{
    rowwise_fetch *f = p->l->fetches ? &p->l->fetch[p->l->fetches - 1] : NULL;
    if (!f || p->of_fetch[p->l->fetches - 1] != region || f->local + f->bytes != begin * CHUNK) return false;
    f->bytes += (end - begin) * CHUNK;
    return true;
}

/* The parts of an input that nobody has made. */
static bool fetch_rows(placer *p, const rowwise_rows *r)
{
    region *g = region_of(p, r);
    int64_t offset = (char *)r->at - g->from;
    int from = (int)(offset / CHUNK), to = (int)((offset + r->bytes + CHUNK - 1) / CHUNK);
    if (offset % CHUNK) return false;
    for (int c = from, begin; c < to; c++) {
        if (g->there[c]) continue;
        for (begin = c; c < to && !g->there[c]; c++) g->there[c] = true;
        g->first = -1;
        if (continues_fetch(p, (int)(g - p->regions), begin, c)) continue;
        rowwise_fetch *f = add_fetch(p, (int)(g - p->regions));
        if (!f) return false;
        *f = (rowwise_fetch){.at = g->from + (int64_t)begin * CHUNK,
                             .pitch = r->pitch,
                             .bytes =
                                 (int32_t)MIN((int64_t)(c - begin) * CHUNK, offset + r->bytes - (int64_t)begin * CHUNK),
                             .local = begin * CHUNK,
                             .local_pitch = g->pitch};
    }
    return true;
}

static bool mark_made(placer *p, const rowwise_rows *r)
{
    region *g = region_of(p, r);
    int64_t offset = (char *)r->at - g->from;
    for (int64_t c = offset / CHUNK; c * CHUNK < offset + r->bytes; c++) g->there[c] = true;
    return offset % CHUNK == 0;
}

static bool fetch_gains(placer *p, rowwise_stage *s, int stage)
{
    bool table = s->kind == ROWWISE_ROPE;
    int32_t bytes = s->columns * (s->wide ? 4 : 2), pitch = table ? rounded(bytes) : 0;
    const region *g = add_region(p, -1, stage, pitch, table ? pitch * ROWWISE_ROWS : rounded(bytes));
    rowwise_fetch *f = g ? add_fetch(p, p->count - 1) : NULL;
    if (!f) return false;
    *f = (rowwise_fetch){.at = s->weights,
                         .index = table ? s->in[1].at : NULL,
                         .pitch = table ? bytes : 0,
                         .bytes = bytes,
                         .local_pitch = pitch,
                         .count = s->positions,
                         .alone = !table};
    s->gains = p->count - 1, s->gains_pitch = pitch;
    return !table || s->in[1].pitch == (int32_t)sizeof(int32_t);
}

/* Of partial sums. */
static bool add_work(placer *p, rowwise_stage *s, int stage)
{
    int tiles = (s->depth + ROWWISE_DEEP - 1) / ROWWISE_DEEP;
    int columns = s->columns * (rowwise_parts(s->columns / ROWWISE_WIDE, tiles) - 1);
    s->work = p->count;
    return add_region(p, stage, stage, 0, ROWWISE_ROWS * columns * (int32_t)sizeof(float)) != NULL;
}

static bool add_stage(placer *p, int stage)
{
    rowwise_stage *s = &p->l->stage[stage];
    bool gains = s->kind == ROWWISE_NORM || s->kind == ROWWISE_ROPE;
    s->gains = s->work = 0;
    for (int k = 0; k < ROWWISE_INPUTS; k++)
        if (reads_rows(s, k) && !fetch_rows(p, &s->in[k])) return false;
    if (gains && !fetch_gains(p, s, stage)) return false;
    if (s->kind == ROWWISE_PRODUCT && !add_work(p, s, stage)) return false;
    for (int k = 0; k < ROWWISE_OUTPUTS; k++)
        if (s->out[k].at && !mark_made(p, &s->out[k])) return false;
    s->waits = stage && s[-1].kind == ROWWISE_PRODUCT && region_of(p, &s[-1].out[0]) == region_of(p, &s->out[0]);
    return true;
}

static bool live_together(const region *a, const region *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* At the first place that no region before it in the list has while it lives. */
static int32_t place_of(const placer *p, int index)
{
    const region *g = &p->regions[index];
    int32_t at = 0;
    for (int i = 0; i < index; i++) {
        const region *other = &p->regions[i];
        if (!live_together(g, other) || at >= other->local + other->bytes || other->local >= at + g->bytes) continue;
        at = other->local + other->bytes;
        i = -1; /* there may be others */
    }
    return at;
}

static void tell_rows(placer *p, rowwise_rows *r)
{
    const region *g = region_of(p, r);
    r->local = g->local + (int32_t)((char *)r->at - g->from);
    r->local_pitch = g->pitch;
}

static void tell_stage(placer *p, rowwise_stage *s)
{
    for (int k = 0; k < ROWWISE_INPUTS; k++)
        if (reads_rows(s, k)) tell_rows(p, &s->in[k]);
    for (int k = 0; k < ROWWISE_OUTPUTS; k++)
        if (s->out[k].at) tell_rows(p, &s->out[k]);
    s->gains = p->regions[s->gains].local;
    s->work = p->regions[s->work].local;
}

/* What an index must be known for comes last. */
static int turn_of(const rowwise_fetch *f)
{
    return f->index ? 1 : 0;
}

static void order_fetches(rowwise_launch *l)
{
    rowwise_fetch ordered[ROWWISE_FETCHES];
    int count = 0;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < l->fetches; i++)
            if (turn_of(&l->fetch[i]) == turn) ordered[count++] = l->fetch[i];
        if (!turn) l->at_once = count;
    }
    memcpy(l->fetch, ordered, sizeof ordered[0] * (size_t)count);
}

bool rowwise_place(rowwise_launch *l, int room)
{
    placer *p = calloc(1, sizeof *p);
    bool fits = p != NULL;
    if (fits) p->l = l;
    l->fetches = l->bytes = 0;
    fits = fits && add_all_rows(p);
    for (int i = 0; i < l->stages && fits; i++) fits = add_stage(p, i);
    for (int i = 0; fits && i < p->count; i++) {
        p->regions[i].local = place_of(p, i);
        l->bytes = MAX(l->bytes, p->regions[i].local + p->regions[i].bytes);
    }
    fits = fits && l->bytes <= room;
    for (int i = 0; fits && i < l->stages; i++) tell_stage(p, &l->stage[i]);
    for (int i = 0; fits && i < l->fetches; i++) l->fetch[i].local += p->regions[p->of_fetch[i]].local;
    if (fits) order_fetches(l);
    l->stage_of_index = l->stages > 1 && l->stage[0].kind != ROWWISE_ROPE;
    free(p);
    return fits;
}
