/* ingot profile: where the time of a training step or of generation goes. */
#include "base/file.h"
#include "bench/limits.h"
#include "bench/profile_run.h"
#include "cli/bench.h"
#include "cli/charts.h"

#include <math.h>
#include <stdio.h>

typedef struct profile_options {
    shape_options shape;
    device_flags device;
    const char *model, *trace, *save;
    string_list plots;
    int64_t batch_size, context, repetitions;
    int phase, by, sync;
    bool recompute;
    output_flags output;
} profile_options;

static const char *const phases[] = {"train", "prefill", "decode", NULL};
static const char *const sums[] = {"kernel", "op", "scope", NULL};
static const char *const syncs[] = {"op", "layer", "step", NULL};

static const option lines[] = {
    {"model", STRING_AT(profile_options, model), "DIR", "a run, a checkpoint or a Hugging Face folder",
     .short_name = "m"},
    {"phase", CHOICE_AT(profile_options, phase), NULL, "a training step, a prompt, or the token after one",
     .initial = "train", .choices = phases},
    {"batch-size", INT_AT(profile_options, batch_size), "B", "rows a step, or sequences",
     .initial_help = "8; of generation 1", .range = AT_LEAST(1)},
    {"context", INT_AT(profile_options, context), "T", "positions a row", .short_name = "c",
     .initial_help = "the model's", .range = AT_LEAST(1)},
    {"repetitions", INT_AT(profile_options, repetitions), "N", "runs that are summed", .short_name = "r",
     .initial = "10", .range = AT_LEAST(1)},
    {"recompute", BOOL_AT(profile_options, recompute), NULL, "recompute activations in the backward pass"},
    {"by", CHOICE_AT(profile_options, by), NULL, "what the steps are summed by", .initial = "kernel", .choices = sums},
    {"sync", CHOICE_AT(profile_options, sync), NULL,
     "how often the device is waited for: after each op, layer or program; rows are those", .initial = "op",
     .choices = syncs},
    {"trace", STRING_AT(profile_options, trace), "FILE",
     "also write the last run as a trace for Perfetto or chrome://tracing"},
    {"plot", LIST_AT(profile_options, plots), "FILE", "also draw the roofline: .svg or .png, by gnuplot"},
    {"save", STRING_AT(profile_options, save), "FILE", "also write the rows as JSON, for --against another day"},
};

static const report_column columns[] = {
    {"op", "op", NULL},
    {"kernel", "kernel", NULL},
    {"calls", "calls", "%.0f"},
    {"ms", "ms", "%.3f"},
    {"share", "share", "%.3f"},
    {"gflops", "GFLOP/s", "%.1f"},
    {"gb_per_s", "GB/s", "%.1f"},
    {"intensity", "FLOP/byte", "%.2f"},
    {"of_limit", "of limit", "%.2f"},
    {"above_limit_ms", "ms above it", "%.3f"},
};

static status write_trace(call *c, const char *path, const text *events)
{
    text all = {0};
    text_puts(&all, "{\"traceEvents\": [\n");
    text_puts(&all, events->at ? events->at : "");
    text_puts(&all, "\n]}\n");
    status s =
        all.failed ? fail_memory(c->ctx, "a trace", all.length) : file_write_whole(c->ctx, path, all.at, all.length);
    text_free(&all);
    return s;
}

static status write_rows(call *c, const char *path, const json_t *rows)
{
    text out = {0};
    report_print(rows, REPORT_JSON, NULL, 0, &out);
    status s = out.failed ? fail_memory(c->ctx, path, out.length) : file_write_whole(c->ctx, path, out.at, out.length);
    text_free(&out);
    return s;
}

/* ---- the roofline ---- */

static status draw_roofline(call *c, const profile_options *o, const profile_result *r)
{
    enum { ROOF = 64 };
    size_t count = json_array_size(r->rows), i, used = 0;
    plot_series *series = ARENA_ARRAY(c->arena, plot_series, (int64_t)count + 1);
    double *points = ARENA_ARRAY(c->arena, double, (int64_t)(2 * count + 2 * ROOF));
    if (!series || !points) return fail_memory(c->ctx, "a picture", count * 16);
    double *x = points + 2 * count, *y = x + ROOF, least = 1.0 / 16, most = 256;
    const json_t *row;
    json_array_foreach(r->rows, i, row)
    {
        double at = json_number_value(json_object_get(row, "intensity")),
               gflops = json_number_value(json_object_get(row, "gflops"));
        if (at <= 0 || gflops <= 0 || used >= 12 || json_number_value(json_object_get(row, "share")) < 0.005) continue;
        least = fmin(least, at / 2);
        most = fmax(most, at * 2);
        points[2 * i] = at;
        points[2 * i + 1] = gflops;
        series[1 + used++] =
            (plot_series){json_string_value(json_object_get(row, json_object_get(row, "kernel") ? "kernel" : "op")),
                          &points[2 * i],
                          &points[2 * i + 1],
                          1,
                          PLOT_POINTS,
                          .beside = true};
    }
    for (int k = 0; k < ROOF; k++) {
        x[k] = least * pow(most / least, (double)k / (ROOF - 1));
        y[k] = fmin(x[k] * r->limit.bytes, r->limit.flops) * 1e-9;
    }
    series[0] = (plot_series){"roof", x, y, ROOF, PLOT_LINE};
    row = json_array_get(r->rows, 0);
    const plot p = {.title = arena_printf(c->arena, "roofline: %s %s, %s, %lld threads", row_text(row, "model"),
                                          row_text(row, "test"), row_text(row, "cpu_info"),
                                          (long long)json_integer_value(json_object_get(row, "n_threads"))),
                    .x_label = "FLOPs a byte",
                    .y_label = "GFLOP/s",
                    .log_x = true,
                    .log_y = true,
                    .series = series,
                    .series_count = (int)used + 1};
    for (int64_t k = 0; k < o->plots.count; k++) TRY(plot_file(c->ctx, &p, 1, o->plots.at[k]));
    return INGOT_OK;
}

/* ---- the verb ---- */

static status open_model(call *c, const profile_options *o, ingot_model **out)
{
    if (o->model) return ingot_model_load(c->ctx, o->model, out);
    ingot_model_options shape = shape_model_options(c, &o->shape);
    if (o->context) shape.context = o->context;
    return ingot_model_new(c->ctx, &shape, out);
}

static status check_plan(call *c, const profile_options *o, const ingot_model_info *info, const profile_plan *plan)
{
    if (plan->phase != PROFILE_TRAIN && info->image)
        return fail_usage(c, "--phase %s: a %s takes pictures and writes no text", phases[o->phase], info->family);
    if (plan->phase != PROFILE_TRAIN && plan->train.batch_size > 512)
        return fail_usage(c, "--batch-size: more than 512 sequences do not fit one run");
    if (o->by && o->sync) return fail_usage(c, "--sync %s gives a row for each; leave --by out", syncs[o->sync]);
    return INGOT_OK;
}

/* How runs follow each other when nobody watches. */
static void print_flow(const profile_flow *f)
{
    if (!f->runs) return;
    printf(
        "as it goes, nobody watching: %.3f ms a run; %.3g submission%s of %.4g launches, %.3g transfers, %.3g waits\n",
        f->ms, f->submissions, f->submissions == 1 ? "" : "s", f->launches, f->transfers, f->waits);
    if (f->traced)
        printf("the device is busy %.1f %% of the time, idle %.3f ms a run in %.4g gaps, at most %.1f us between %.40s "
               "and "
               "%.40s; copies to and from the host take %.4f ms a run, %.4f ms of it beside kernels\n",
               100 * f->busy, f->idle_ms, f->gaps, f->longest_gap_us, f->before, f->after, f->copies_ms, f->hidden_ms);
    else if (*f->why)
        printf("%s\n", f->why);
}

static status show(call *c, const profile_options *o, const profile_result *r)
{
    status s = bench_finish(c, &o->output, r->rows, columns, COUNT(columns));
    if (bench_prints_md(c, &o->output))
        printf("\na run takes %.3f ms, %.3f ms while it is timed (%+.2f %%); its steps %.3f ms\n", r->run_ms,
               r->watched_ms, 100 * (r->watched_ms / r->run_ms - 1), r->steps_ms);
    if (bench_prints_md(c, &o->output)) print_flow(&r->flow);
    if (!s && o->trace) s = write_trace(c, o->trace, &r->trace);
    if (!s && o->save) s = write_rows(c, o->save, r->rows);
    if (!s && o->plots.count) s = draw_roofline(c, o, r);
    return s;
}

static status measure(call *c, const profile_options *o, const ingot_model *m, device *d, machine *on)
{
    ingot_model_info info = ingot_model_describe(m);
    bool training = o->phase == PROFILE_TRAIN;
    const profile_plan plan = {.phase = (profile_phase)o->phase,
                               .by = (profile_by)o->by,
                               .sync = (profile_sync)o->sync,
                               .train = {.one_by_one = true,
                                         .batch_size = o->batch_size ? o->batch_size
                                                       : training    ? 8
                                                                     : 1,
                                         .context = o->context ? o->context : info.context,
                                         .recompute = o->recompute,
                                         .optimizer = ingot_optimizer_defaults(1e-3, 1000),
                                         .effort = {.warmup = 2, .repetitions = o->repetitions}}};
    profile_result result = {0};
    TRY(check_plan(c, o, &info, &plan));
    const char *name = o->model ? o->model : o->shape.preset ? o->shape.preset : info.family;
    status s = profile_measure(d, m, name, &plan, on, &result);
    if (!s) s = limits_raise(c->ctx, on, result.rows);
    if (!s && !strcmp(d->def->name, "cpu"))
        s = device_limit_measure(d, on, info.dtype, &result.limit); /* the roof moves too */
    if (!s) s = show(c, o, &result);
    profile_result_free(&result);
    return s;
}

static status run(call *c, void *given)
{
    const profile_options *o = given;
    ingot_model *m = NULL;
    ingot_device *d = NULL;
    machine on;
    status s;
    for (int64_t i = 0; i < o->plots.count; i++) TRY_OR(done, plot_check(c->ctx, o->plots.at[i]));
    TRY_OR(done, open_model(c, o, &m));
    TRY_OR(done, device_flags_open(c, &o->device, &d));
    TRY_OR(done, device_flags_set_dtype(&o->device, m));
    TRY_OR(done, bench_begin(c, &o->output, &on));
    s = measure(c, o, m, d, &on);
done:
    ingot_model_free(m);
    ingot_device_close(d);
    return s;
}

const verb verb_profile = {
    .name = "profile",
    .summary = "where the time of a training step or of generation goes",
    .description =
        "Times every step of a run on random tokens. `of limit`: the time that its FLOPs and bytes would take at this "
        "machine's measured peak and copy bandwidth, as a share of what it took; above 1 its data stayed in the "
        "caches. "
        "Runs that are timed take turns with runs that are not, and the difference is shown. On a GPU --sync op waits "
        "after each kernel, which a whole run does not: --sync step is the time of the run as it is.",
    .run = run,
    .options_bytes = sizeof(profile_options),
    .options = {{NULL, OPTIONS(lines)},
                SHAPE_TABLE(profile_options, shape),
                DEVICE_TABLE(profile_options, device),
                OUTPUT_TABLE(profile_options, output)},
    .examples = "ingot profile --preset tiny-1m\n"
                "ingot profile --model run --trace step.json --plot roofline.svg\n"
                "ingot profile --preset smollm2-135m --context 512 --phase decode --by op\n"
                "ingot profile --preset tiny-1m --save before.json\n"
                "ingot profile --preset tiny-1m --against before.json\n",
};
