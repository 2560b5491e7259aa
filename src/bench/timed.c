/* Timing programs, and what the devices other than the processor can do. */
#include "bench/timed.h"
#include "base/rng.h"
#include "bench/machine.h"
#include "ops/source/source.h"
#include "ops/table.h"

#include <math.h>

typedef struct timed_work {
    ingot_program *p;
    timed_extra *before, *after;
    void *arg;
    int64_t runs; /* of one sample */
} timed_work;

static status run_some(void *given)
{
    const timed_work *w = given;
    for (int64_t i = 0; i < w->runs; i++) {
        if (w->before) TRY(w->before(w->p, w->arg));
        TRY(ingot_run(w->p, NULL));
        if (w->after) TRY(w->after(w->p, w->arg));
    }
    return w->p->device->def->sync(w->p->device);
}

status timed_program(ingot_program *p, const bench_effort *effort, timed_extra *before, timed_extra *after, void *arg,
                     bench_stats *out)
{
    const double sample = 1e-3, longest = 1e6;
    timed_work w = {.p = p, .before = before, .after = after, .arg = arg, .runs = 1};
    context *ctx = p->device->ctx;
    TRY(run_some(&w)); /* the first run also prepares */
    double took = bench_now();
    TRY(run_some(&w));
    took = bench_now() - took;
    if (took < sample / 2) w.runs = (int64_t)MIN(sample / MAX(took, 1e-7), longest);
    bench_effort how = *effort;
    how.warmup = MAX(how.warmup - 2, (int64_t)0);
    TRY(bench_measure(ctx, run_some, &w, &how, out));
    bench_stats_divide(out, (double)w.runs);
    return INGOT_OK;
}

/* A stretch of random numbers, repeated: making each element anew would take longer than the measurement. */
static status fill_input(ingot_program *p, const port *in, int64_t below, bool positive)
{
    enum { DRAWN = 4099 };
    const source_attrs *a = in->value->node->attrs;
    dtype type = (dtype)a->dtype;
    int64_t count = shape_count(in->value->shape), size = ingot_dtype_bytes(type);
    char *host = malloc((size_t)(MAX(count, 1) * size));
    if (!host) return fail_memory(p->device->ctx, "inputs", (uint64_t)(count * size));
    rng random = rng_make(1, (uint64_t)in->value->id);
    int64_t drawn = MIN(count, (int64_t)DRAWN);
    for (int64_t i = 0; i < drawn; i++) {
        double drawn_value = dtype_is_float(type) ? rng_normal(&random) / 2 : rng_below(&random, (uint32_t)below);
        dtype_store(type, host, i, positive ? fabs(drawn_value) : drawn_value);
    }
    for (int64_t done = drawn; done < count; done += MIN(done, count - done))
        memcpy(host + done * size, host, (size_t)(MIN(done, count - done) * size));
    status s = ingot_write(p, in->name, host, count * size);
    free(host);
    return s;
}

status timed_fill(ingot_program *p, const int64_t *below, const bool *positive)
{
    for (int64_t i = 0; i < p->graph->inputs.count; i++)
        TRY(fill_input(p, &p->graph->inputs.at[i], below && below[i] ? below[i] : 8, positive && positive[i]));
    return p->device->def->sync(p->device);
}

static status seconds_of(device *d, build *b, double *seconds)
{
    ingot_program *p;
    bench_stats stats = {0};
    TRY(ingot_compile(b, d, NULL, &p));
    status s = timed_fill(p, NULL, NULL);
    if (!s) s = timed_program(p, &(bench_effort){.warmup = 3, .seconds = 0.1}, NULL, NULL, NULL, &stats);
    *seconds = stats.least;
    bench_stats_free(&stats);
    ingot_program_free(p);
    return s;
}

status timed_bare_launch(device *d, double *seconds)
{
    build *b = ingot_build_new(d->ctx, "launch");
    if (!b) return fail_memory(d->ctx, "a graph", sizeof *b);
    ingot_output(b, "y", ingot_neg(b, ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(1))));
    return seconds_of(d, b, seconds);
}

static status product_flops(device *d, dtype type, double *flops)
{
    const int64_t n = 8192;
    build *b = ingot_build_new(d->ctx, "limit");
    if (!b) return fail_memory(d->ctx, "a graph", sizeof *b);
    value *x = ingot_input(b, "x", type, INGOT_SHAPE(n, n)), *y = ingot_input(b, "y", type, INGOT_SHAPE(n, n));
    ingot_output(b, "z", ingot_matmul(b, x, y));
    double seconds;
    TRY(seconds_of(d, b, &seconds));
    *flops = 2.0 * (double)n * (double)n * (double)n / seconds;
    return INGOT_OK;
}

static status copy_bytes(device *d, double *bytes)
{
    const int64_t n = 64 << 20;
    build *b = ingot_build_new(d->ctx, "limit");
    if (!b) return fail_memory(d->ctx, "a graph", sizeof *b);
    ingot_output(b, "y", ingot_neg(b, ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(n))));
    double seconds;
    TRY(seconds_of(d, b, &seconds));
    *bytes = 8.0 * (double)n / seconds;
    return INGOT_OK;
}

status device_limit_measure(device *d, const machine *on, dtype type, device_limit *out)
{
    *out = (device_limit){.from = "unknown"};
    if (d->def->runs_nothing || d->def->promotes_to_f64) return INGOT_OK; /* null and ref: nobody asks how fast */
    if (!strcmp(d->def->name, "cpu")) {
        *out = machine_limit(on, type);
        return INGOT_OK;
    }
    out->from = "the device's own product of 8192^3";
    status s = product_flops(d, type, &out->flops);
    if (s == INGOT_ERROR_UNSUPPORTED) out->from = "unknown: no product of this dtype here";
    if (s && s != INGOT_ERROR_UNSUPPORTED) return s;
    return copy_bytes(d, &out->bytes);
}
