#include "bench/flow.h"

#include <stdio.h>

static status run_all(const flow_subject *x, int64_t runs)
{
    for (int64_t i = 0; i < runs; i++) TRY(x->step(x->user));
    return INGOT_OK;
}

static int by_begin(const void *x, const void *y)
{
    const device_event *a = x, *b = y;
    return a->begin_ns < b->begin_ns ? -1 : a->begin_ns > b->begin_ns;
}

/* Time in which a kernel ran; gaps are what lies between the first and the last of them. */
static void find_gaps(const device_trace *t, profile_flow *f)
{
    const device_event *last = NULL;
    int64_t busy = 0, idle = 0, until = 0, longest = 0, first = 0;
    for (int64_t i = 0; i < t->events.count; i++) {
        const device_event *e = &t->events.at[i];
        if (e->is_copy) continue;
        if (!last) first = until = e->begin_ns;
        int64_t gap = e->begin_ns - until;
        if (gap > 0) {
            idle += gap;
            f->gaps++;
            if (gap > longest) {
                longest = gap;
                snprintf(f->before, sizeof f->before, "%s", last ? last->name : "");
                snprintf(f->after, sizeof f->after, "%s", e->name);
            }
        }
        busy += MAX(0, e->end_ns - MAX(until, e->begin_ns));
        if (e->end_ns > until || !last) last = e;
        until = MAX(until, e->end_ns);
    }
    f->busy = until > first ? (double)busy / (double)(until - first) : 0;
    f->idle_ms = (double)idle * 1e-6;
    f->longest_gap_us = (double)longest * 1e-3;
}

/* Of the time of copies, what kernels ran beside. */
static void find_copies(const device_trace *t, profile_flow *f)
{
    for (int64_t i = 0; i < t->events.count; i++) {
        const device_event *c = &t->events.at[i];
        int64_t until = c->begin_ns, hidden = 0;
        if (!c->is_copy) continue;
        for (int64_t k = 0; k < t->events.count; k++) {
            const device_event *e = &t->events.at[k];
            if (e->begin_ns >= c->end_ns) break;
            if (e->is_copy || e->end_ns <= until) continue;
            int64_t from = MAX(e->begin_ns, until), to = MIN(e->end_ns, c->end_ns);
            if (to > from) hidden += to - from, until = to;
        }
        f->copies_ms += (double)(c->end_ns - c->begin_ns) * 1e-6;
        f->hidden_ms += (double)hidden * 1e-6;
    }
}

static void write_events(const device_trace *t, text *out)
{
    int64_t first = t->events.count ? t->events.at[0].begin_ns : 0;
    for (int64_t i = 0; i < t->events.count; i++) {
        const device_event *e = &t->events.at[i];
        text_printf(out,
                    "%s{\"name\": \"%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": 2, \"tid\": %d, \"ts\": %.3f, "
                    "\"dur\": %.3f}",
                    out->length ? ",\n" : "", e->name, e->is_copy ? "copy" : "kernel", e->lane,
                    (double)(e->begin_ns - first) * 1e-3, (double)(e->end_ns - e->begin_ns) * 1e-3);
    }
}

/* From a device that does nothing to one that does nothing: those that are under way at the end are runs too. */
static status trace_runs(device *d, int64_t runs, const flow_subject *x, profile_flow *out, text *trace)
{
    device_trace t = {0};
    status s = d->def->trace(d, NULL);
    if (s) {
        snprintf(out->why, sizeof out->why, "%s", ingot_message(d->ctx));
        return s == INGOT_ERROR_UNSUPPORTED ? INGOT_OK : s;
    }
    s = run_all(x, runs);
    if (!s) s = x->drain(x->user);
    status ended = d->def->trace(d, &t);
    if (!s && !ended && t.events.count) {
        qsort(t.events.at, (size_t)t.events.count, sizeof *t.events.at, by_begin);
        out->traced = true;
        find_gaps(&t, out);
        find_copies(&t, out);
        double *const per_run[] = {&out->idle_ms, &out->gaps, &out->copies_ms, &out->hidden_ms};
        for (size_t i = 0; i < COUNT(per_run); i++) *per_run[i] /= (double)(runs + x->ahead);
        write_events(&t, trace);
    }
    ARRAY_FREE(&t.events);
    return s ? s : ended;
}

status flow_measure(device *d, int64_t runs, const flow_subject *x, profile_flow *out, text *trace)
{
    const device_counts *c = &d->counts;
    TRY(run_all(x, 20));
    int64_t before[] = {c->submissions, c->launches, c->transfers, c->waits};
    double began = bench_now();
    TRY(run_all(x, runs));
    *out = (profile_flow){.runs = runs,
                          .ms = (bench_now() - began) / (double)runs * 1e3,
                          .submissions = (double)(c->submissions - before[0]) / (double)runs,
                          .launches = (double)(c->launches - before[1]) / (double)runs,
                          .transfers = (double)(c->transfers - before[2]) / (double)runs,
                          .waits = (double)(c->waits - before[3]) / (double)runs};
    TRY(x->drain(x->user));
    return d->def->trace ? trace_runs(d, MIN(runs, 20), x, out, trace) : INGOT_OK;
}
