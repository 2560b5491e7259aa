/* The curves of a run, from its log.jsonl. */
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
} curves;

static bool add_point(numbers *x, numbers *y, double step, const json_t *value)
{
    return !value || (ARRAY_PUSH(x, step) && ARRAY_PUSH(y, json_number_value(value)));
}

static bool add_line(curves *to, const char *line, size_t length)
{
    json_t *o = json_loadb(line, length, 0, NULL);
    if (!o) return true; /* a line cut short by a kill */
    double step = json_number_value(json_object_get(o, "step"));
    const json_t *rate = json_object_get(o, "lr");
    bool ok = add_point(&to->steps, &to->loss, step, json_object_get(o, "loss")) &&
              add_point(&to->val_steps, &to->val, step, json_object_get(o, "val_loss")) &&
              (!rate || ARRAY_PUSH(&to->rate, json_number_value(rate)));
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
    ARRAY_FREE(&v.steps);
    ARRAY_FREE(&v.loss);
    ARRAY_FREE(&v.rate);
    ARRAY_FREE(&v.val_steps);
    ARRAY_FREE(&v.val);
    return s;
}
