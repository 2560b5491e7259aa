/* Tuning: each candidate is forced by a tuning of one choice, and timed. */
#include "bench/tune.h"
#include "bench/sample.h"
#include "bench/timed.h"
#include "ops/table.h"

#include <math.h>
#include <stdio.h>

enum { MOST_CANDIDATES = 8, ROUNDS = 3, CALLS = 8, FEW = 1 << 18 /* elements: what takes no longer than a launch */ };

typedef struct candidate {
    const char *kernel; /* "": casts around float32 */
    double seconds;     /* the best median of its rounds; INFINITY: it cannot run */
    double rounds[ROUNDS];
} candidate;

typedef struct tuned_case {
    device *d;
    const op_def *op;
    const op_sample *sample;
    dtype type;
    double seconds; /* for all candidates together */
    candidate at[MOST_CANDIDATES];
    int count;
    int usual; /* the levels' own choice */
    int size_class;
    int64_t calls; /* in one program: several where they can follow each other, so that starting it weighs little */
} tuned_case;

static build *build_case(const tuned_case *c)
{
    return sample_graph(c->d->ctx, c->op, c->sample, c->type, c->calls);
}

static const node *find_node(const build *b, const op_def *op)
{
    for (const node *n = b->first; n; n = n->after)
        if (n->op == op) return n;
    return NULL;
}

/* Kernels that take the node as it is built, and what it is for a tuning. */
static status list_candidates(tuned_case *c)
{
    c->calls = shape_count(c->sample->in[0]) <= FEW ? CALLS : 1;
    build *b = build_case(c);
    if (b && ingot_build_status(b)) {
        ingot_build_free(b);
        c->calls = 1;
        b = build_case(c);
    }
    if (!b) return fail_memory(c->d->ctx, "a graph", sizeof *b);
    const node *n = ingot_build_status(b) ? NULL : find_node(b, c->op);
    const kernel_def *usual = n ? device_kernel(c->d, n) : NULL;
    bool narrow = c->type == INGOT_BF16 || c->type == INGOT_F16;
    c->count = 0;
    c->usual = -1;
    c->size_class = n ? tuning_class(n) : 0;
    for (kernel_table list = n ? c->d->kernels : NULL; list && *list; list++)
        for (const kernel_def *k = *list; k->op && c->count < MOST_CANDIDATES - 1; k++) {
            if (k->level < LEVEL_SIMD || k->traits & KERNEL_BY_REQUEST || !device_kernel_fits(c->d, k, n)) continue;
            if (k == usual) c->usual = c->count;
            c->at[c->count++] = (candidate){k->name, INFINITY, {INFINITY, INFINITY, INFINITY}};
        }
    if (narrow && c->count) c->at[c->count++] = (candidate){"", INFINITY, {INFINITY, INFINITY, INFINITY}};
    if (c->usual < 0) c->count = 0;
    ingot_build_free(b);
    return INGOT_OK;
}

static status time_candidate(const tuned_case *c, candidate *of, int round)
{
    tuning forced = {0};
    ingot_program *p = NULL;
    bench_stats stats = {0};
    build *b = build_case(c);
    if (!b || !tuning_add(&forced, c->op->name, c->type, c->size_class, of->kernel)) {
        if (b) ingot_build_free(b);
        return fail_memory(c->d->ctx, "a graph", sizeof *b);
    }
    c->d->tuning = &forced;
    status s = ingot_compile(b, c->d, NULL, &p);
    c->d->tuning = NULL;
    if (!s) s = timed_fill(p, c->sample->below, NULL);
    if (!s)
        s = timed_program(p, &(bench_effort){.warmup = 2, .seconds = c->seconds / ROUNDS / c->count}, NULL, NULL, NULL,
                          &stats);
    of->rounds[round] = s ? INFINITY : stats.median / (double)c->calls;
    of->seconds = fmin(of->seconds, of->rounds[round]);
    bench_stats_free(&stats);
    ingot_program_free(p);
    ARRAY_FREE(&forced.choices);
    return s == INGOT_ERROR_UNSUPPORTED ? INGOT_OK : s;
}

static bool faster(const candidate *a, const candidate *than, int round)
{
    return a->rounds[round] < 0.97 * than->rounds[round];
}

/* Faster by more than 3 % in every round: what happened beside one round chooses nothing. */
static bool wins(const candidate *a, const candidate *over)
{
    for (int r = 0; r < ROUNDS; r++)
        if (!faster(a, over, r)) return false;
    return true;
}

/* The usual kernel, and beside it those that have won each round so far: after one lost round nothing is to be learnt. */
static status time_rounds(tuned_case *c)
{
    for (int round = 0, left = c->count; round < ROUNDS && left > 1; round++) {
        candidate *usual = &c->at[c->usual];
        TRY(time_candidate(c, usual, round));
        left = 1;
        for (int i = 0; i < c->count; i++) {
            candidate *one = &c->at[i];
            if (one == usual || (round && !faster(one, usual, round - 1))) continue;
            TRY(time_candidate(c, one, round));
            left += faster(one, usual, round);
        }
    }
    return INGOT_OK;
}

static int choose(const tuned_case *c)
{
    int best = c->usual;
    for (int i = 0; i < c->count; i++)
        if (wins(&c->at[i], &c->at[best])) best = i;
    return best;
}

static void add_rows(const tuned_case *c, int chosen, const machine *on, json_t *rows)
{
    char shape_text[128];
    for (int i = 0; i < c->count; i++) {
        json_t *row = row_new("tune", c->d, on);
        row_set_text(row, "op", c->op->name);
        row_set_text(row, "shape", shape_print(shape_text, c->sample->in[0]));
        row_set_text(row, "dtype", ingot_dtype_name(c->type));
        row_set_text(row, "kernel", *c->at[i].kernel ? c->at[i].kernel : "casts");
        row_set_number(row, "us", c->at[i].seconds * 1e6);
        row_set_text(row, "chosen", i == chosen ? "chosen" : "");
        row_set_text(row, "usual", i == c->usual ? "usual" : "");
        json_array_append_new(rows, row);
    }
}

static bool has_class(const tuning *t, const tuned_case *c)
{
    for (int64_t i = 0; i < t->choices.count; i++) {
        const tuning_choice *known = &t->choices.at[i];
        if (known->size_class == c->size_class && known->dtype == c->type && !strcmp(known->op, c->op->name))
            return true;
    }
    return false;
}

static status tune_sample(tuned_case *c, const machine *on, tuning *out, json_t *rows)
{
    TRY(list_candidates(c));
    if (c->count < 2 || has_class(out, c)) return INGOT_OK;
    if (ingot_interrupted(c->d->ctx)) return ingot_fail(c->d->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
    TRY(time_rounds(c));
    int chosen = choose(c);
    if (rows) add_rows(c, chosen, on, rows);
    if (tuning_add(out, c->op->name, c->type, c->size_class, c->at[chosen].kernel)) return INGOT_OK;
    return fail_memory(c->d->ctx, "a tuning", sizeof(tuning_choice));
}

/* Products as layers make them: some rows of 1024 times a (1024, 1024) matrix that is stored by outputs. */
static status tune_products(tuned_case *c, const machine *on, tuning *out, json_t *rows)
{
    static const int64_t counts[TUNING_CLASSES] = {1, 4, 16, 64, 256, 1024};
    op_sample sample = op_matmul_def.bench[0];
    c->op = &op_matmul_def;
    c->sample = &sample;
    sample.in[2].rank = -1;
    sample.in[1] = INGOT_SHAPE(1024, 1024);
    for (int i = 0; i < TUNING_CLASSES; i++) {
        sample.in[0] = INGOT_SHAPE(counts[i], 1024);
        TRY(tune_sample(c, on, out, rows));
    }
    return INGOT_OK;
}

status tune_device(device *d, double seconds, const machine *on, tuning *out, json_t *rows)
{
    static const dtype types[] = {INGOT_F32, INGOT_F64, INGOT_BF16, INGOT_F16};
    tuned_case c = {.d = d, .seconds = seconds};
    tuning_free(d->tuning);
    d->tuning = NULL;
    for (size_t t = 0; t < COUNT(types); t++) {
        c.type = types[t];
        progress(d->ctx, "tuning", (double)t, COUNT(types), ingot_dtype_name(c.type));
        TRY(tune_products(&c, on, out, rows));
        for (const op_def *const *op = op_table; *op; op++)
            for (size_t i = 0; i < (*op)->bench_count; i++) {
                c.op = *op;
                c.sample = &(*op)->bench[i];
                TRY(tune_sample(&c, on, out, rows));
            }
    }
    return INGOT_OK;
}
