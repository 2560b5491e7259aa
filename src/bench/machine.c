/* Limits of the processor: multiply-adds in registers, copies and sums over more than the caches hold. */
#include "bench/machine.h"
#include "bench/measure.h"
#include "kit/cpu/peak.h"
#include "kit/cpu/stream.h"

enum { PEAK_ROUNDS = 200000, ARRAY_FLOATS = 32 << 20 }; /* few repetitions: it is measured before and after */

void machine_describe(pool *p, machine *out)
{
    *out = (machine){.threads = pool_size(p)};
    identity_here(&out->cpu);
}

static double raise_one(double *to, double seen)
{
    double ratio = *to > 0 && seen > 0 ? MAX(*to, seen) / MIN(*to, seen) : 1;
    *to = MAX(*to, seen);
    return ratio;
}

double machine_raise(machine *on, const machine *seen)
{
    double most = raise_one(&on->peak_flops, seen->peak_flops);
    most = MAX(most, raise_one(&on->peak_flops_f64, seen->peak_flops_f64));
    most = MAX(most, raise_one(&on->peak_flops_bf16, seen->peak_flops_bf16));
    most = MAX(most, raise_one(&on->copy_bytes, seen->copy_bytes));
    return MAX(most, raise_one(&on->read_bytes, seen->read_bytes));
}

/* ---- memory ---- */

typedef struct memory_work {
    pool *pool;
    float *from, *to;
    double *sums; /* one a piece: what was read must be used */
    pool_task *part;
} memory_work;

static void copy_part(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const memory_work *w = arg;
    memcpy(w->to + first, w->from + first, (size_t)(last - first) * sizeof(float));
}

/* Past the caches, as kernels write what is larger than they: what is overwritten is not read before. */
static void stream_part(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const memory_work *w = arg;
    for (int64_t i = first; i < last; i += STREAM_BLOCK)
        stream_block(w->to + i, w->from + i, MIN(last - i, (int64_t)STREAM_BLOCK));
    stream_end();
}

/* Integer sums of whole lines: as fast as lines come. */
static void read_part(void *arg, int64_t first, int64_t last, int worker)
{
    const memory_work *w = arg;
    const uint64_t *at = (const uint64_t *)(const void *)(w->from + first);
    uint64_t sums[8] = {0};
    for (int64_t i = 0; i + 8 <= (last - first) / 2; i += 8)
        for (int j = 0; j < 8; j++) sums[j] += at[i + j];
    for (int j = 0; j < 8; j++) w->sums[worker] += (double)sums[j];
}

static status memory_once(void *arg)
{
    const memory_work *w = arg;
    pool_for(w->pool, ARRAY_FLOATS, 1 << 16, w->part, arg);
    return INGOT_OK;
}

static status time_memory(context *ctx, memory_work *w, pool_task *part, double bytes, double *rate)
{
    bench_stats stats;
    w->part = part;
    TRY(bench_measure(ctx, memory_once, w, &(bench_effort){.warmup = 1, .repetitions = 3}, &stats));
    *rate = bytes / stats.least;
    bench_stats_free(&stats);
    return INGOT_OK;
}

static status measure_memory(context *ctx, pool *p, machine *out)
{
    size_t bytes = ARRAY_FLOATS * sizeof(float);
    double past_caches = 0;
    memory_work w = {.pool = p, .from = malloc(bytes), .to = malloc(bytes)};
    w.sums = calloc((size_t)pool_size(p), sizeof *w.sums);
    status s = w.from && w.to && w.sums ? INGOT_OK : fail_memory(ctx, "measuring bandwidth", 2 * bytes);
    if (!s) {
        memset(w.from, 1, bytes);
        memset(w.to, 1, bytes);
        s = time_memory(ctx, &w, copy_part, 2.0 * (double)bytes, &out->copy_bytes);
    }
    if (!s) s = time_memory(ctx, &w, stream_part, 2.0 * (double)bytes, &past_caches);
    out->copy_bytes = MAX(out->copy_bytes, past_caches);
    if (!s) s = time_memory(ctx, &w, read_part, (double)bytes, &out->read_bytes);
    free(w.from);
    free(w.to);
    free(w.sums);
    return s;
}

/* ---- multiply-adds ---- */

typedef struct peak_work {
    pool *pool;
    peak_kind kind;
    double *sums;
} peak_work;

static void peak_part(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    peak_work *w = arg;
    for (int64_t i = first; i < last; i++) w->sums[i] = peak_run(w->kind, PEAK_ROUNDS);
}

static status peak_once(void *arg)
{
    peak_work *w = arg;
    pool_for(w->pool, pool_size(w->pool), 1, peak_part, arg);
    return INGOT_OK;
}

static status measure_peak(context *ctx, pool *p, peak_kind kind, double *flops)
{
    double a_round = peak_flops_a_round(kind);
    if (a_round <= 0) return INGOT_OK;
    peak_work w = {.pool = p, .kind = kind, .sums = calloc((size_t)pool_size(p), sizeof(double))};
    if (!w.sums) return fail_memory(ctx, "measuring the peak", 8);
    bench_stats stats;
    status s = bench_measure(ctx, peak_once, &w, &(bench_effort){.warmup = 1, .repetitions = 5}, &stats);
    free(w.sums);
    TRY(s);
    *flops = a_round * PEAK_ROUNDS * pool_size(p) / stats.least;
    bench_stats_free(&stats);
    return INGOT_OK;
}

status machine_measure(context *ctx, machine *out)
{
    pool *p = context_pool(ctx);
    if (!p) return ingot_fail(ctx, INGOT_ERROR_MEMORY, "threads could not be started; try --threads 1");
    machine_describe(p, out);
    TRY(measure_memory(ctx, p, out));
    TRY(measure_peak(ctx, p, PEAK_F32, &out->peak_flops));
    TRY(measure_peak(ctx, p, PEAK_F64, &out->peak_flops_f64));
    return measure_peak(ctx, p, PEAK_BF16, &out->peak_flops_bf16);
}

device_limit machine_limit(const machine *on, dtype type)
{
    double flops = type == INGOT_F64    ? on->peak_flops_f64
                   : type == INGOT_BF16 ? MAX(on->peak_flops_bf16, on->peak_flops)
                                        : on->peak_flops;
    return (device_limit){.flops = flops, .bytes = on->copy_bytes, .from = "multiply-adds in registers"};
}
