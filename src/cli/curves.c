/* The curves of a run, from its log.jsonl; ingot curves: those of several runs in one picture. */
#include "bench/report.h"
#include "bench/row.h"
#include "cli/charts.h"
#include "cli/train.h"

#include "base/file.h"
#include "formats/json.h"

#include <math.h>
#include <stdio.h>

#define MOST_LOG_BYTES (1ull << 31)

typedef ARRAY(double) numbers;

typedef struct curves {
    numbers steps, loss, rate, val_steps, val;
    numbers took; /* seconds of each step */
} curves;

static void free_curves(curves *v)
{
    ARRAY_FREE(&v->steps);
    ARRAY_FREE(&v->loss);
    ARRAY_FREE(&v->rate);
    ARRAY_FREE(&v->val_steps);
    ARRAY_FREE(&v->val);
    ARRAY_FREE(&v->took);
}

static bool add_point(numbers *x, numbers *y, double step, const json_t *value)
{
    return !value || (ARRAY_PUSH(x, step) && ARRAY_PUSH(y, json_number_value(value)));
}

static bool add_line(curves *to, const char *line, size_t length)
{
    json_t *o = json_loadb(line, length, 0, NULL);
    if (!o) return true; /* a line cut short by a kill */
    double step = json_number_value(json_object_get(o, "step"));
    const json_t *rate = json_object_get(o, "lr"), *took = json_object_get(o, "seconds");
    bool ok = add_point(&to->steps, &to->loss, step, json_object_get(o, "loss")) &&
              add_point(&to->val_steps, &to->val, step, json_object_get(o, "val_loss")) &&
              (!rate || ARRAY_PUSH(&to->rate, json_number_value(rate))) &&
              (!json_object_get(o, "loss") || ARRAY_PUSH(&to->took, json_number_value(took)));
    json_decref(o);
    return ok;
}

static status read_log(call *c, const char *path, curves *out)
{
    text log = {0};
    status s = file_read_whole(c->ctx, path, MOST_LOG_BYTES, &log);
    const char *at = log.at, *end = log.at + log.length;
    while (!s && at && at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end) break;
        if (!add_line(out, at, (size_t)(line_end - at))) s = fail_memory(c->ctx, path, log.length);
        at = line_end + 1;
    }
    text_free(&log);
    return s;
}

/* A run of 9,000 steps has more points than a picture has columns: means of neighbours, which also shows the trend. */
static void thin(numbers *x, numbers *y, int64_t most)
{
    int64_t every = (x->count + most - 1) / most, kept = 0;
    if (every <= 1) return;
    for (int64_t i = 0; i < x->count; i += every, kept++) {
        int64_t n = MIN(every, x->count - i);
        double sum_x = 0, sum_y = 0;
        for (int64_t j = i; j < i + n; j++) sum_x += x->at[j], sum_y += y->at[j];
        x->at[kept] = sum_x / (double)n;
        y->at[kept] = sum_y / (double)n;
    }
    x->count = y->count = kept;
}

/* A curve that falls to a quarter spends most of its picture falling: on a log axis its end is seen as well. */
static bool falls_far(const numbers *loss, const curve_level *levels, int count)
{
    double least = INFINITY, most = 0;
    for (int64_t i = 0; i < loss->count; i++) {
        least = fmin(least, loss->at[i]);
        most = fmax(most, loss->at[i]);
    }
    for (int i = 0; i < count; i++) least = fmin(least, levels[i].loss);
    return least > 0 && most > 4 * least;
}

static void draw(call *c, const char *run, curves *v, const curve_level *levels, int count, bool chart)
{
    numbers rate_steps = {0};
    for (int64_t i = 0; i < v->rate.count && i < v->steps.count; i++) (void)!ARRAY_PUSH(&rate_steps, v->steps.at[i]);
    thin(&rate_steps, &v->rate, 500);
    thin(&v->steps, &v->loss, 500);
    plot_level lines[8];
    int level_count = MIN(count, (int)COUNT(lines));
    for (int i = 0; i < level_count; i++) lines[i] = (plot_level){levels[i].name, levels[i].loss};
    const plot_series loss[] = {{"train", v->steps.at, v->loss.at, v->steps.count, PLOT_LINE},
                                {"val", v->val_steps.at, v->val.at, v->val.count, PLOT_LINE_POINTS}};
    const plot_series rate[] = {{"learning rate", rate_steps.at, v->rate.at, rate_steps.count, PLOT_LINE}};
    const plot panels[] = {{.title = "loss",
                            .x_label = "step",
                            .y_label = "nats a token",
                            .log_y = falls_far(&v->loss, levels, level_count),
                            .series = loss,
                            .series_count = v->val.count ? 2 : 1,
                            .levels = lines,
                            .level_count = level_count},
                           {.title = "learning rate", .x_label = "step", .series = rate, .series_count = 1}};
    static const char *const files[] = {"loss.png", "loss.svg"};
    for (size_t i = 0; i < COUNT(files); i++) {
        char *path = path_join(run, files[i]);
        if (path && plot_file(c->ctx, panels, (int)COUNT(panels), path))
            log_line(c->ctx, INGOT_LOG_WARNING, "no picture: %s", ingot_message(c->ctx));
        free(path);
    }
    if (chart) print_plot(c, &panels[0]);
    ARRAY_FREE(&rate_steps);
}

status print_curves(call *c, const char *run, const curve_level *levels, int count, bool chart)
{
    curves v = {0};
    char *path = path_join(run, "log.jsonl");
    status s = path ? read_log(c, path, &v) : fail_memory(c->ctx, run, 64);
    if (!s && v.steps.count > 1) draw(c, run, &v, levels, count, chart);
    free(path);
    free_curves(&v);
    return s;
}

/* ---- ingot curves ---- */

typedef struct curves_options {
    string_list runs, plots;
    int over, format;
    bool chart;
} curves_options;

static const char *const axes[] = {"step", "seconds", NULL};

static const option lines[] = {
    {"runs", LIST_AT(curves_options, runs), "RUN", "folders that ingot train wrote", .required = true,
     .positional = true},
    {"over", CHOICE_AT(curves_options, over), NULL, "what lies below the losses: steps, or the seconds that they took",
     .initial = "step", .choices = axes},
    {"plot", LIST_AT(curves_options, plots), "FILE", "also draw them: .svg or .png, by gnuplot"},
    {"chart", BOOL_AT(curves_options, chart), NULL, "the chart in the terminal, after the table", .initial = "true"},
    {"output-format", CHOICE_AT(curves_options, format), NULL, "md, csv, json, jsonl", .short_name = "o",
     .initial = "md", .choices = report_formats},
};

static const report_column columns[] = {
    {"run", "run", NULL},
    {"steps", "steps", "%.0f"},
    {"seconds", "seconds", "%.2f"},
    {"ms_per_step", "ms/step", "%.2f"},
    {"speedup", "x the first", "%.1f"},
    {"first_loss", "first loss", "%.6f"},
    {"loss", "last loss", "%.6f"},
    {"val_loss", "val loss", "%.6f"},
    {"apart", "most apart", "%.1e"},
};

static double median_of(context *ctx, const numbers *n)
{
    double *sorted = malloc((size_t)n->count * sizeof *sorted + 1), median;
    if (!sorted) return (void)fail_memory(ctx, "a median", 8), 0;
    if (n->count) memcpy(sorted, n->at, (size_t)n->count * sizeof *sorted);
    median = bench_median(sorted, n->count);
    free(sorted);
    return median;
}

/* The largest difference of two runs' losses at the same step; NAN: they have no step in common. */
static double most_apart(const curves *a, const curves *b)
{
    double most = NAN;
    for (int64_t i = 0, j = 0; i < a->steps.count && j < b->steps.count;) {
        double x = a->steps.at[i], y = b->steps.at[j];
        if (x == y) most = fmax(most, fabs(a->loss.at[i] - b->loss.at[j]));
        i += x <= y;
        j += y <= x;
    }
    return most;
}

static json_t *table_of(call *c, const curves_options *o, const curves *all)
{
    json_t *rows = json_array();
    double first = median_of(c->ctx, &all[0].took);
    for (int64_t r = 0; r < o->runs.count; r++) {
        const curves *v = &all[r];
        double median = median_of(c->ctx, &v->took), seconds = 0;
        for (int64_t i = 0; i < v->took.count; i++) seconds += v->took.at[i];
        json_t *row = json_object();
        row_set_text(row, "run", o->runs.at[r]);
        row_set_number(row, "steps", (double)v->steps.count);
        row_set_number(row, "seconds", seconds);
        row_set_number(row, "ms_per_step", median * 1e3);
        if (median > 0) row_set_number(row, "speedup", first / median);
        row_set_number(row, "first_loss", v->loss.at[0]);
        row_set_number(row, "loss", v->loss.at[v->loss.count - 1]);
        if (v->val.count) row_set_number(row, "val_loss", v->val.at[v->val.count - 1]);
        row_set_number(row, "apart", most_apart(&all[0], v));
        json_array_append_new(rows, row);
    }
    return rows;
}

/* x of each loss: its step, or when it was reached. */
static void place(const curves_options *o, curves *v)
{
    double seconds = 0;
    for (int64_t i = 0; i < v->steps.count && o->over; i++) v->steps.at[i] = seconds += v->took.at[i];
    thin(&v->steps, &v->loss, 500);
}

static status draw_all(call *c, const curves_options *o, curves *all)
{
    plot_series *series = ARENA_ARRAY(c->arena, plot_series, o->runs.count);
    if (!series) return fail_memory(c->ctx, "a picture", 0);
    double least = INFINITY, most = 0;
    for (int64_t r = 0; r < o->runs.count; r++) {
        curves *v = &all[r];
        place(o, v);
        series[r] = (plot_series){o->runs.at[r], v->steps.at, v->loss.at, v->steps.count, PLOT_LINE};
        least = fmin(least, v->steps.at[v->steps.count - 1]);
        most = fmax(most, v->steps.at[v->steps.count - 1]);
    }
    const plot p = {.title = o->over ? "loss over time" : "loss",
                    .x_label = axes[o->over],
                    .y_label = "nats a token",
                    .log_x = o->over && most > 4 * least, /* else the fast runs are a line at the left edge */
                    .series = series,
                    .series_count = (int)o->runs.count};
    for (int64_t i = 0; i < o->plots.count; i++) TRY(plot_file(c->ctx, &p, 1, o->plots.at[i]));
    if (o->chart && o->format == REPORT_MD && !c->json) print_plot(c, &p);
    return INGOT_OK;
}

static status check_folder(call *c, const char *run)
{
    if (directory_exists(run)) return INGOT_OK;
    return ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT,
                      "%s%s; ingot curves takes the folders that ingot train wrote, in which log.jsonl lies", run,
                      file_exists(run) ? " is a file" : ": there is no such folder");
}

static status read_all(call *c, const curves_options *o, curves *all)
{
    for (int64_t i = 0; i < o->plots.count; i++) TRY(plot_check(c->ctx, o->plots.at[i]));
    for (int64_t r = 0; r < o->runs.count; r++) {
        TRY(check_folder(c, o->runs.at[r]));
        char *path = path_join(o->runs.at[r], "log.jsonl");
        status s = path ? read_log(c, path, &all[r]) : fail_memory(c->ctx, o->runs.at[r], 64);
        if (!s && !all[r].steps.count) s = ingot_fail(c->ctx, INGOT_ERROR_ARGUMENT, "%s holds no step", path);
        free(path);
        TRY(s);
    }
    return INGOT_OK;
}

static status show(call *c, const curves_options *o, curves *all)
{
    text out = {0};
    json_t *rows = table_of(c, o, all);
    status s = INGOT_OK;
    if (c->json)
        s = print_json(c, json_pack("{s:O}", "results", rows));
    else
        report_print(rows, (report_format)o->format, columns, COUNT(columns), &out);
    json_decref(rows);
    fputs(out.at ? out.at : "", stdout);
    text_free(&out);
    return s ? s : draw_all(c, o, all);
}

static status run_curves(call *c, void *given)
{
    const curves_options *o = given;
    curves *all = ARENA_ARRAY(c->arena, curves, o->runs.count);
    if (!all) return fail_memory(c->ctx, "curves", 0);
    memset(all, 0, (size_t)o->runs.count * sizeof *all);
    status s = read_all(c, o, all);
    if (!s) s = show(c, o, all);
    for (int64_t r = 0; r < o->runs.count; r++) free_curves(&all[r]);
    return s;
}

const verb verb_curves = {
    .name = "curves",
    .summary = "losses of several runs in one table and one picture",
    .description =
        "Reads what ingot train logged. `x the first` compares the median times of a step, `most apart` is the "
        "largest "
        "difference to the first run's loss at the same step. tools/climb.sh uses it to show every rung of the "
        "CPU ladder "
        "training the same model.",
    .run = run_curves,
    .options_bytes = sizeof(curves_options),
    .options = {{NULL, OPTIONS(lines)}},
    .examples = "ingot curves run\n"
                "ingot curves climb/naive climb/tiled climb/simd --over seconds --plot climb.svg\n",
};
