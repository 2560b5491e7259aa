/* Measuring generation over a session's rows. */
#include "bench/infer.h"
#include "base/rng.h"
#include "bench/energy.h"
#include "infer/session.h"

#include <math.h>
#include <stdio.h>

typedef struct infer_test {
    session *s;
    const infer_plan *plan;
    int64_t batch, prompt, generated;
    bool no_cache;
    int32_t *tokens;
    cached *sequences;
    energy_counter energy;
    double joules; /* of all repetitions that count; < 0: not readable */
} infer_test;

static status open_sequences(infer_test *t, int64_t tokens)
{
    for (int64_t i = 0; i < t->batch; i++)
        if (!session_open(t->s, &t->sequences[i], tokens, NULL, 0)) {
            while (i--) session_close(t->s, &t->sequences[i]);
            return ingot_fail(t->s->ctx, INGOT_ERROR_INTERNAL, "the cache has no room for %lld sequences",
                              (long long)t->batch);
        }
    return INGOT_OK;
}

static void close_sequences(infer_test *t)
{
    for (int64_t i = 0; i < t->batch; i++) session_close(t->s, &t->sequences[i]);
}

/* A run of the rows that were added, unless it was asked to stop. */
static status run_rows(const infer_test *t)
{
    if (ingot_interrupted(t->s->ctx)) return ingot_fail(t->s->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
    return rows_run(t->s);
}

/* `count` tokens into every sequence, as many rows a run as the session takes; logits of the last one of each. */
static status take_in(infer_test *t, int64_t count)
{
    session *s = t->s;
    rows_begin(s);
    for (int64_t i = 0; i < t->batch; i++)
        for (int64_t done = 0; done < count;) {
            if (!rows_left(s)) {
                TRY(run_rows(t));
                rows_begin(s);
            }
            int64_t part = MIN(count - done, rows_left(s));
            done += part;
            rows_add(s, &t->sequences[i], t->tokens, part, done == count && s->wanted_rows < s->most_wanted);
        }
    return s->rows ? run_rows(t) : INGOT_OK;
}

static status generate(infer_test *t, int64_t count)
{
    for (int64_t step = 0; step < count; step++) {
        rows_begin(t->s);
        for (int64_t i = 0; i < t->batch; i++) rows_add(t->s, &t->sequences[i], t->tokens + step, 1, 1);
        TRY(run_rows(t));
    }
    return INGOT_OK;
}

/* Each token by running everything before it again, the depth too. */
static status generate_anew(infer_test *t, int64_t count)
{
    for (int64_t step = 0; step < count; step++) {
        if (ingot_interrupted(t->s->ctx)) return ingot_fail(t->s->ctx, INGOT_ERROR_INTERRUPTED, "interrupted");
        int64_t rows = t->plan->depth + step + 1;
        TRY(open_sequences(t, rows));
        status s = take_in(t, rows);
        close_sequences(t);
        TRY(s);
    }
    return INGOT_OK;
}

/* One repetition; what fills the cache up to the depth is outside the clock. */
static status once(infer_test *t, double *seconds)
{
    *seconds = bench_now();
    if (t->no_cache) {
        TRY(generate_anew(t, t->generated));
        *seconds = bench_now() - *seconds;
        return INGOT_OK;
    }
    TRY(open_sequences(t, t->plan->depth + t->prompt + t->generated));
    status s = t->plan->depth ? take_in(t, t->plan->depth) : INGOT_OK;
    energy_joules(&t->energy);
    *seconds = bench_now();
    if (!s && t->prompt) s = take_in(t, t->prompt);
    if (!s) s = generate(t, t->generated);
    *seconds = bench_now() - *seconds;
    close_sequences(t);
    return s;
}

static status repeat(infer_test *t, bench_stats *out)
{
    ARRAY(double) all = {0};
    double seconds;
    status s = INGOT_OK;
    t->joules = 0;
    double began = bench_now();
    for (int64_t i = 0; !s && bench_warms_up(&t->plan->effort, i, began); i++) s = once(t, &seconds);
    for (int64_t i = 0; i < t->plan->effort.repetitions && !s; i++) {
        energy_joules(&t->energy);
        s = once(t, &seconds);
        double used = energy_joules(&t->energy);
        t->joules = used < 0 ? -1 : t->joules + used;
        if (!s && !ARRAY_PUSH(&all, seconds)) s = fail_memory(t->s->ctx, "timings", 8);
    }
    if (!s) return bench_stats_of(t->s->ctx, all.at, all.count, out);
    ARRAY_FREE(&all);
    return s;
}

static json_t *make_row(const infer_test *t, const ingot_model *m, const char *name, const machine *on,
                        const bench_stats *stats)
{
    ingot_model_info info = ingot_model_describe(m);
    char test[96], depth[32] = "";
    if (t->plan->depth) snprintf(depth, sizeof depth, " @ d%lld", (long long)t->plan->depth);
    if (t->prompt)
        snprintf(test, sizeof test, "pp%lld%s", (long long)t->prompt, depth);
    else
        snprintf(test, sizeof test, "tg%lld%s%s", (long long)t->generated, t->no_cache ? " no cache" : "", depth);
    json_t *row = row_new("infer", t->s->device, on);
    row_set_text(row, "model", name);
    row_set_text(row, "model_filename", info.directory);
    row_set_text(row, "model_type", info.family);
    row_set_text(row, "backends", ingot_device_name(t->s->device));
    row_set_text(row, "dtype", ingot_dtype_name(info.dtype));
    row_set_text(row, "type_k", ingot_dtype_name(info.dtype));
    row_set_text(row, "type_v", ingot_dtype_name(info.dtype));
    row_set_text(row, "test", test);
    json_object_set_new(row, "model_size", json_integer((json_int_t)(info.parameters * ingot_dtype_bytes(info.dtype))));
    json_object_set_new(row, "model_n_params", json_integer((json_int_t)info.parameters));
    json_object_set_new(row, "n_batch", json_integer((json_int_t)t->batch));
    json_object_set_new(row, "n_ubatch", json_integer((json_int_t)t->s->most_rows));
    json_object_set_new(row, "n_prompt", json_integer((json_int_t)t->prompt));
    json_object_set_new(row, "n_gen", json_integer((json_int_t)t->generated));
    json_object_set_new(row, "n_depth", json_integer((json_int_t)t->plan->depth));
    row_add_kernels(row, &t->s->ran, 1);
    row_add_times(row, stats);
    return row;
}

static void add_rates(json_t *row, const infer_test *t, const bench_stats *stats)
{
    double tokens = (double)(t->batch * (t->prompt + t->generated)), mean = 0, squares = 0;
    json_t *rates = json_array();
    for (int64_t i = 0; i < stats->count; i++) mean += tokens / stats->samples[i] / (double)stats->count;
    for (int64_t i = 0; i < stats->count; i++) {
        double rate = tokens / stats->samples[i];
        squares += (rate - mean) * (rate - mean);
        json_array_append_new(rates, json_real(rate));
    }
    row_set_number(row, "avg_ts", mean);
    row_set_number(row, "stddev_ts", stats->count > 1 ? sqrt(squares / (double)(stats->count - 1)) : 0);
    row_set_number(row, "median_ts", tokens / stats->median);
    json_object_set_new(row, "samples_ts", rates);
    if (t->joules >= 0)
        row_set_number(row, "joules_per_token", t->joules / tokens / (double)stats->count);
    else
        row_set_text(row, "joules_per_token", "not readable");
}

static status run_test(infer_test *t, const ingot_model *m, const char *name, const machine *on, json_t *rows)
{
    bench_stats stats = {0};
    progress(t->s->ctx, "infer", 0, 0, t->prompt ? "prompt" : "generation");
    energy_open(&t->energy, "/sys/class/powercap");
    TRY(repeat(t, &stats));
    json_t *row = make_row(t, m, name, on, &stats);
    add_rates(row, t, &stats);
    json_array_append_new(rows, row);
    bench_stats_free(&stats);
    return INGOT_OK;
}

/* Of writing `count` tokens without a cache. */
static double rows_anew(const infer_plan *plan, int64_t count)
{
    return (double)count * ((double)plan->depth + (double)(count + 1) / 2);
}

/* Fewer tokens where all of them would take too long at the speed of a first try. */
static status run_without_cache(infer_test *t, const ingot_model *m, const char *name, const machine *on, json_t *rows)
{
    infer_plan shorter = *t->plan;
    int64_t first = MIN(t->generated, (int64_t)8);
    t->no_cache = true;
    TRY(generate_anew(t, first)); /* compiles */
    double began = bench_now();
    TRY(generate_anew(t, first));
    double a_row = (bench_now() - began) / rows_anew(t->plan, first);
    while (t->generated > 8 && a_row * rows_anew(t->plan, t->generated) > t->plan->cap) t->generated /= 2;
    shorter.effort = (bench_effort){.warmup = 1, .repetitions = MIN(t->plan->effort.repetitions, (int64_t)2)};
    t->plan = &shorter;
    return run_test(t, m, name, on, rows);
}

static status run_batch(infer_test *t, const ingot_model *m, const char *name, const machine *on, json_t *rows)
{
    const infer_plan *plan = t->plan;
    for (int64_t i = 0; i < plan->prompt_count; i++) {
        t->prompt = plan->prompts[i];
        t->generated = 0;
        TRY(run_test(t, m, name, on, rows));
    }
    t->prompt = 0;
    for (int64_t i = 0; i < plan->generated_count; i++) {
        t->generated = plan->generated[i];
        TRY(run_test(t, m, name, on, rows));
        if (!plan->no_cache || t->batch > 1) continue;
        infer_test anew = *t;
        TRY(run_without_cache(&anew, m, name, on, rows));
    }
    return INGOT_OK;
}

static int64_t most_of(const int64_t *at, int64_t count)
{
    int64_t most = 1;
    for (int64_t i = 0; i < count; i++) most = MAX(most, at[i]);
    return most;
}

static status fill_tokens(infer_test *t, int64_t count, int64_t batch, int64_t vocab_size)
{
    t->tokens = malloc(sizeof *t->tokens * (size_t)count);
    t->sequences = calloc((size_t)batch, sizeof *t->sequences);
    if (!t->tokens || !t->sequences) return fail_memory(t->s->ctx, "tokens", (uint64_t)count * 4);
    rng random = rng_make(t->plan->seed, 1);
    for (int64_t i = 0; i < count; i++) t->tokens[i] = (int32_t)rng_below(&random, (uint32_t)vocab_size);
    return INGOT_OK;
}

status bench_infer(ingot_device *d, const ingot_model *m, const char *name, const infer_plan *plan, const machine *on,
                   json_t *rows)
{
    int64_t longest = MAX(most_of(plan->prompts, plan->prompt_count), most_of(plan->generated, plan->generated_count));
    int64_t context = plan->depth + longest, vocab_size = ingot_model_describe(m).vocab_size;
    for (int64_t i = 0; i < plan->batch_count; i++) {
        infer_test t = {.plan = plan, .batch = plan->batches[i]};
        ingot_session_options how = {.context = context, .sequences = t.batch, .seed = plan->seed};
        TRY(ingot_session_new(m, d, &how, &t.s));
        status s = fill_tokens(&t, context, t.batch, vocab_size);
        if (!s) s = run_batch(&t, m, name, on, rows);
        free(t.tokens);
        free(t.sequences);
        ingot_session_free(t.s);
        TRY(s);
    }
    return INGOT_OK;
}
