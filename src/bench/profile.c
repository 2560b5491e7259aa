/* Summing steps. */
#define _GNU_SOURCE
#include "bench/profile.h"
#include "bench/limits.h"

#include <ctype.h>
#include <stdio.h>

typedef struct profile_entry {
    char *name;
    const char *op, *kernel; /* of its first step */
    int64_t calls;
    double flops, bytes; /* of all runs */
    double *ns;          /* by run */
} profile_entry;

struct profile {
    profile_by by;
    profile_sync sync;
    int64_t runs;
    ARRAY(profile_entry) entries;
};

profile *profile_new(profile_by by, profile_sync sync)
{
    profile *f = calloc(1, sizeof *f);
    if (f) *f = (profile){.by = by, .sync = sync};
    return f;
}

void profile_free(profile *f)
{
    if (!f) return;
    for (int64_t i = 0; i < f->entries.count; i++) {
        free(f->entries.at[i].name);
        free(f->entries.at[i].ns);
    }
    ARRAY_FREE(&f->entries);
    free(f);
}

/* ---- names ---- */

/* "model.layers.3.mlp" without numbers: "model.layers.*.mlp". */
static void put_scope(const char *scope, text *out)
{
    for (const char *at = scope; *at;) {
        size_t length = strcspn(at, ".");
        bool number = length > 0;
        for (size_t i = 0; i < length; i++) number = number && isdigit((unsigned char)at[i]);
        if (number)
            text_puts(out, "*");
        else
            text_add(out, at, length);
        at += length;
        if (*at) text_add(out, at++, 1);
    }
}

/* The layer of a node: its scope up to the first number. */
static void put_layer(const node *n, const char *program, text *out)
{
    const char *at = n->scope;
    size_t used = strlen(at);
    for (const char *part = at; *part; part += strcspn(part, "."), part += *part == '.')
        if (isdigit((unsigned char)*part)) {
            used = (size_t)(part - at) + strcspn(part, ".");
            break;
        }
    if (used)
        text_add(out, at, used);
    else
        text_puts(out, program);
    if (n->backward) text_puts(out, " backward");
}

static void put_name(const profile *f, const ingot_program *p, const step *s, text *out)
{
    if (f->sync == PROFILE_SYNC_STEP)
        text_puts(out, p->graph->name);
    else if (f->sync == PROFILE_SYNC_LAYER)
        put_layer(s->node, p->graph->name, out);
    else if (f->by == PROFILE_BY_OP)
        text_puts(out, s->node->op->name);
    else if (f->by == PROFILE_BY_KERNEL)
        text_printf(out, "%s %s", s->node->op->name, s->kernel->name);
    else if (*s->node->scope)
        put_scope(s->node->scope, out);
    else
        text_puts(out, p->graph->name);
    text_puts(out, "");
}

static bool same_layer(const ingot_program *p, const step *x, const step *y)
{
    text a = {0}, b = {0};
    put_layer(x->node, p->graph->name, &a);
    put_layer(y->node, p->graph->name, &b);
    bool same = a.at && b.at && !strcmp(a.at, b.at);
    text_free(&a);
    text_free(&b);
    return same;
}

status profile_watch(const profile *f, ingot_program *p, bool on)
{
    if (f->sync == PROFILE_SYNC_OP && on) return program_time_steps(p);
    free(p->main.ns);
    p->main.ns = NULL;
    if (!on || f->sync == PROFILE_SYNC_OP) return program_time_groups(p, NULL, 0);
    ARRAY(int64_t) ends = {0};
    status s = INGOT_OK;
    for (int64_t i = 0; i < p->main.count && !s; i++) {
        bool last = i + 1 == p->main.count;
        if (!last && (f->sync == PROFILE_SYNC_STEP || same_layer(p, &p->main.steps[i], &p->main.steps[i + 1])))
            continue;
        if (!ARRAY_PUSH(&ends, i + 1)) s = fail_memory(p->device->ctx, "a profile", 8);
    }
    if (!s) s = program_time_groups(p, ends.at, ends.count);
    ARRAY_FREE(&ends);
    return s;
}

/* ---- sums ---- */

void profile_begin(profile *f)
{
    f->runs++;
}

static profile_entry *find(profile *f, const char *name)
{
    for (int64_t i = 0; i < f->entries.count; i++)
        if (!strcmp(f->entries.at[i].name, name)) return &f->entries.at[i];
    profile_entry fresh = {.name = strdup(name)};
    return fresh.name && ARRAY_PUSH(&f->entries, fresh) ? &f->entries.at[f->entries.count - 1] : NULL;
}

/* Times of runs in which it did not appear are 0. */
static bool add_ns(const profile *f, profile_entry *e, double ns)
{
    if (!e->ns || !(f->runs & (f->runs - 1))) { /* room grows with powers of two */
        int64_t room = 1;
        while (room <= f->runs) room *= 2;
        double *larger = calloc((size_t)room, sizeof *larger);
        if (!larger) return false;
        for (int64_t i = 0; e->ns && i < f->runs; i++) larger[i] = e->ns[i];
        free(e->ns);
        e->ns = larger;
    }
    e->ns[f->runs - 1] += ns;
    return true;
}

static status add_step(profile *f, context *ctx, const ingot_program *p, const step *s, double ns)
{
    text name = {0};
    put_name(f, p, s, &name);
    profile_entry *e = name.at ? find(f, name.at) : NULL;
    text_free(&name);
    if (!e || !add_ns(f, e, ns)) return fail_memory(ctx, "a profile", sizeof *e);
    op_cost cost = node_cost(s->node);
    if (!e->op) {
        e->op = s->node->op->name;
        e->kernel = s->kernel->name;
    }
    e->calls++;
    e->flops += cost.flops;
    e->bytes += cost.bytes;
    return INGOT_OK;
}

status profile_add(profile *f, context *ctx, const ingot_program *p)
{
    for (int64_t i = 0, g = 0; i < p->main.count; i++) {
        double ns = p->main.ns ? (double)p->main.ns[i] : 0;
        if (p->groups) {
            if (i == p->group_ends[g]) g++;
            ns = i == (g ? p->group_ends[g - 1] : 0) ? (double)p->group_ns[g] : 0; /* the part's first step has it */
        }
        TRY(add_step(f, ctx, p, &p->main.steps[i], ns));
    }
    return INGOT_OK;
}

/* ---- rows ---- */

static status stats_of(context *ctx, const profile *f, const double *ns, bench_stats *out)
{
    double *seconds = malloc(sizeof *seconds * (size_t)MAX(f->runs, 1));
    if (!seconds) return fail_memory(ctx, "a profile", 8);
    for (int64_t i = 0; i < f->runs; i++) seconds[i] = ns[i] * 1e-9;
    return bench_stats_of(ctx, seconds, f->runs, out);
}

static double total_ns(const profile *f)
{
    double total = 0;
    for (int64_t i = 0; i < f->entries.count; i++)
        for (int64_t r = 0; r < f->runs; r++) total += f->entries.at[i].ns[r];
    return total;
}

double profile_run_ms(const profile *f)
{
    return f->runs ? total_ns(f) * 1e-6 / (double)f->runs : 0;
}

static void add_figures(json_t *row, const profile *f, const profile_entry *e, double seconds,
                        const device_limit *limit)
{
    double runs = (double)f->runs, flops = e->flops / runs, bytes = e->bytes / runs;
    json_object_set_new(row, "calls", json_integer((json_int_t)(e->calls / f->runs)));
    row_set_number(row, "ms", seconds * 1e3);
    row_set_number(row, "gflops", flops / seconds * 1e-9);
    row_set_number(row, "gb_per_s", bytes / seconds * 1e-9);
    row_set_number(row, "intensity", flops / bytes);
    row_add_limit(row, limit);
}

/* What a row is of: rows by op and rows by scope may have a name in common. */
static const char *summed_by(const profile *f)
{
    static const char *const names[] = {"kernel", "op", "scope"};
    if (f->sync == PROFILE_SYNC_LAYER) return "layer";
    return f->sync == PROFILE_SYNC_STEP ? "program" : names[f->by];
}

static json_t *entry_row(const profile *f, const profile_entry *e, double total, const device *d, const machine *on,
                         const device_limit *limit, const char *model, const char *test)
{
    bench_stats stats;
    if (stats_of(d->ctx, f, e->ns, &stats)) return NULL;
    json_t *row = row_new("profile", d, on);
    double sum = 0;
    for (int64_t i = 0; i < f->runs; i++) sum += e->ns[i];
    row_set_text(row, "model", model);
    row_set_text(row, "test", test);
    row_set_text(row, "op", e->name);
    if (f->sync == PROFILE_SYNC_OP && f->by != PROFILE_BY_SCOPE) row_set_text(row, "op", e->op);
    if (f->sync == PROFILE_SYNC_OP && f->by == PROFILE_BY_KERNEL) row_set_text(row, "kernel", e->kernel);
    row_set_text(row, "by", summed_by(f));
    row_set_number(row, "share", total > 0 ? sum / total : 0);
    row_add_times(row, &stats);
    add_figures(row, f, e, MAX(stats.median, 1e-9), limit);
    bench_stats_free(&stats);
    return row;
}

static int longest_first(const void *x, const void *y)
{
    const profile_entry *a = x, *b = y;
    return a->ns[0] > b->ns[0] ? -1 : a->ns[0] < b->ns[0];
}

json_t *profile_rows(const profile *f, const device *d, const machine *on, const device_limit *limit, const char *model,
                     const char *test)
{
    json_t *rows = json_array();
    double total = total_ns(f);
    qsort(f->entries.at, (size_t)f->entries.count, sizeof *f->entries.at, longest_first);
    for (int64_t i = 0; i < f->entries.count; i++) {
        json_t *row = entry_row(f, &f->entries.at[i], total, d, on, limit, model, test);
        if (row) json_array_append_new(rows, row);
    }
    return rows;
}

/* ---- the trace ---- */

static void put_event(const char *name, const char *category, double start_us, double us, const step *s,
                      const char *program, text *out)
{
    op_cost cost = node_cost(s->node);
    text_printf(out,
                "%s{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"ts\": %.3f, \"dur\": %.3f, \"pid\": 1, "
                "\"tid\": 1, \"args\": {\"scope\": \"%s\", \"program\": \"%s\", \"flops\": %.0f, \"bytes\": %.0f}}",
                out->length ? ",\n" : "", name, category, start_us, us, s->node->scope, program, cost.flops,
                cost.bytes);
}

void profile_trace(const profile *f, const ingot_program *p, double *start_us, text *out)
{
    for (int64_t i = 0; p->main.ns && i < p->main.count; i++) {
        const step *s = &p->main.steps[i];
        double us = (double)p->main.ns[i] * 1e-3;
        put_event(s->kernel->name, s->node->op->name, *start_us, us, s, p->graph->name, out);
        *start_us += us;
    }
    for (int64_t g = 0; g < p->groups; g++) {
        const step *s = &p->main.steps[g ? p->group_ends[g - 1] : 0];
        double us = (double)p->group_ns[g] * 1e-3;
        text name = {0};
        put_name(f, p, s, &name);
        put_event(name.at ? name.at : "", "layer", *start_us, us, s, p->graph->name, out);
        *start_us += us;
        text_free(&name);
    }
}
