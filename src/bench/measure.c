/* Timing of whole pieces of work. */
#define _GNU_SOURCE
#include "bench/measure.h"

#include <math.h>
#include <time.h>

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

double bench_median(double *values, int64_t count)
{
    if (count < 1) return 0;
    qsort(values, (size_t)count, sizeof *values, ascending);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static status summarise(context *ctx, bench_stats *s)
{
    double *sorted = malloc(sizeof *sorted * (size_t)s->count);
    if (!sorted) return fail_memory(ctx, "timings", (uint64_t)s->count * sizeof *sorted);
    memcpy(sorted, s->samples, sizeof *sorted * (size_t)s->count);
    s->median = bench_median(sorted, s->count);
    s->least = sorted[0];
    s->most = sorted[s->count - 1];
    double squares = 0;
    for (int64_t i = 0; i < s->count; i++) s->mean += sorted[i] / (double)s->count;
    for (int64_t i = 0; i < s->count; i++) squares += (sorted[i] - s->mean) * (sorted[i] - s->mean);
    s->deviation = s->count > 1 ? sqrt(squares / (double)(s->count - 1)) : 0;
    free(sorted);
    return INGOT_OK;
}

bool bench_warms_up(const bench_effort *effort, int64_t done, double began)
{
    const double settled = 0.25;
    return done < effort->warmup || (effort->settle && effort->warmup && bench_now() - began < settled);
}

status bench_measure(context *ctx, bench_work *work, void *arg, const bench_effort *effort, bench_stats *out)
{
    enum { MOST = 10000, LEAST = 3 };
    *out = (bench_stats){0};
    ARRAY(double) samples = {0};
    status s = INGOT_OK;
    double begin = bench_now();
    for (int64_t i = 0; !s && bench_warms_up(effort, i, begin); i++) s = work(arg);
    begin = bench_now();
    for (;;) {
        bool enough = effort->repetitions ? samples.count >= effort->repetitions
                                          : samples.count >= LEAST && bench_now() - begin >= effort->seconds;
        if (s || enough || samples.count >= MOST) break;
        if (ingot_interrupted(ctx)) s = ingot_fail(ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        double start = bench_now();
        if (!s) s = work(arg);
        if (!ARRAY_PUSH(&samples, bench_now() - start)) s = fail_memory(ctx, "timings", sizeof(double));
    }
    if (!s) return bench_stats_of(ctx, samples.at, samples.count, out);
    ARRAY_FREE(&samples);
    return s;
}

status bench_stats_of(context *ctx, double *samples, int64_t count, bench_stats *out)
{
    *out = (bench_stats){.samples = samples, .count = count};
    status s = count ? summarise(ctx, out) : ingot_fail(ctx, INGOT_ERROR_INTERNAL, "nothing was timed");
    if (s) bench_stats_free(out);
    return s;
}

void bench_stats_divide(bench_stats *s, double pieces)
{
    for (int64_t i = 0; i < s->count; i++) s->samples[i] /= pieces;
    s->median /= pieces;
    s->mean /= pieces;
    s->deviation /= pieces;
    s->least /= pieces;
    s->most /= pieces;
}

void bench_stats_free(bench_stats *s)
{
    free(s->samples);
    *s = (bench_stats){0};
}
