/* The picture of ingot bench ladder: GFLOP/s over N, a curve a rung, the limits as lines. */
#include "cli/bench.h"
#include "cli/charts.h"

#include <stdio.h>

typedef struct curve {
    char name[64], rung[48]; /* the rung is without " with copies": both have one colour */
    const char *dtype;
    bool copies;
    ARRAY(double) x, y;
} curve;

typedef ARRAY(curve) curves;

static bool add_point(curves *all, const json_t *row)
{
    double gflops = json_number_value(json_object_get(row, "gflops"));
    char name[64], rung[48];
    const char *full = row_text(row, "rung"), *copied = strstr(full, " with copies"),
               *device = row_text(row, "backend");
    if (!strcmp(device, "cpu")) device = "";
    int length = copied ? (int)(copied - full) : (int)strlen(full);
    snprintf(rung, sizeof rung, "%.*s%s%s", length, full, *device ? " on " : "", device);
    snprintf(name, sizeof name, "%s%s %s", rung, copied ? copied : "", row_text(row, "dtype"));
    if (gflops <= 0 || json_is_true(json_object_get(row, "estimated"))) return true;
    curve *c = NULL, fresh = {0};
    for (int64_t i = 0; i < all->count && !c; i++)
        if (!strcmp(all->at[i].name, name)) c = &all->at[i];
    if (!c) {
        memcpy(fresh.name, name, sizeof name);
        memcpy(fresh.rung, rung, sizeof rung);
        fresh.dtype = row_text(row, "dtype");
        fresh.copies = copied != NULL;
        if (!ARRAY_PUSH(all, fresh)) return false;
        c = &all->at[all->count - 1];
    }
    return ARRAY_PUSH(&c->x, json_number_value(json_object_get(row, "size"))) && ARRAY_PUSH(&c->y, gflops);
}

/* A rung has one colour in all dtypes, with and without copies; a dtype one dash and mark on all rungs, another with copies. */
static void choose_looks(const curves *all, const dtype_list *dtypes, plot_series *series)
{
    int colors = 0, forms = 1;
    for (int64_t i = 0; i < all->count; i++)
        if (all->at[i].copies) forms = 2;
    for (int64_t i = 0; i < all->count; i++) {
        for (int64_t k = 0; k < i && !series[i].color; k++)
            if (!strcmp(all->at[k].rung, all->at[i].rung)) series[i].color = series[k].color;
        if (!series[i].color) series[i].color = ++colors;
        for (int64_t t = 0; t < dtypes->count; t++)
            if (!strcmp(ingot_dtype_name(dtypes->at[t]), all->at[i].dtype))
                series[i].dash = (int)t * forms + all->at[i].copies + 1;
    }
}

/* The peak of each dtype that has one: the processor's. */
static int list_peaks(call *c, const dtype_list *dtypes, const machine *on, plot_level *levels)
{
    int count = 0;
    for (int64_t t = 0; t < dtypes->count; t++) {
        dtype type = dtypes->at[t];
        double peak = type == INGOT_F32 ? on->peak_flops : type == INGOT_F64 ? on->peak_flops_f64 : on->peak_flops_bf16;
        char *name = arena_printf(c->arena, "peak of %s, measured", ingot_dtype_name(type));
        if (peak > 0 && type != INGOT_F16 && name) levels[count++] = (plot_level){name, peak * 1e-9};
    }
    return count;
}

/* The limits of other devices, from their rows: each once. */
static int list_device_limits(call *c, const json_t *rows, plot_level *levels, int most)
{
    int count = 0;
    size_t i;
    const json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
    {
        double limit = json_number_value(json_object_get(row, "limit_gflops"));
        if (limit <= 0 || !strcmp(row_text(row, "backend"), "cpu") || count == most) continue;
        bool known = false;
        for (int k = 0; k < count && !known; k++) known = levels[k].y == limit;
        char *name = known ? NULL
                           : arena_printf(c->arena, "%s's product of 8192^3, %s", row_text(row, "backend"),
                                          row_text(row, "dtype"));
        if (name) levels[count++] = (plot_level){name, limit};
    }
    return count;
}

static status draw(call *c, const ladder_picture *l, const curves *all, const json_t *rows, const machine *on)
{
    const int most_levels = 4 * (int)l->dtypes->count;
    plot_series *series = ARENA_ARRAY(c->arena, plot_series, all->count + 1);
    plot_level *levels = ARENA_ARRAY(c->arena, plot_level, most_levels + 1);
    double *sizes = ARENA_ARRAY(c->arena, double, l->sizes->count + 1);
    if (!series || !levels || !sizes) return fail_memory(c->ctx, "a picture", 0);
    for (int64_t i = 0; i < l->sizes->count; i++) sizes[i] = (double)l->sizes->at[i];
    for (int64_t i = 0; i < all->count; i++)
        series[i] = (plot_series){.name = all->at[i].name,
                                  .x = all->at[i].x.at,
                                  .y = all->at[i].y.at,
                                  .count = all->at[i].x.count,
                                  .style = PLOT_LINE_POINTS};
    choose_looks(all, l->dtypes, series);
    int level_count = list_peaks(c, l->dtypes, on, levels);
    level_count += list_device_limits(c, rows, levels + level_count, most_levels - level_count);
    const plot p = {.title =
                        arena_printf(c->arena, "products of N x N matrices, %s, %d threads", on->cpu.name, on->threads),
                    .x_label = "N",
                    .y_label = "GFLOP/s",
                    .log_x = true,
                    .log_y = true,
                    .series = series,
                    .series_count = (int)all->count,
                    .levels = levels,
                    .level_count = level_count,
                    .x_ticks = sizes,
                    .x_tick_count = l->sizes->count <= 12 ? (int)l->sizes->count : 0};
    if (l->chart) print_plot(c, &p);
    for (int64_t i = 0; i < l->files->count; i++) TRY(plot_file(c->ctx, &p, 1, l->files->at[i]));
    return INGOT_OK;
}

status draw_ladder(call *c, const ladder_picture *l, const json_t *rows, const machine *on)
{
    curves all = {0};
    status s = INGOT_OK;
    size_t i;
    const json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row) if (!s && !add_point(&all, row)) s =
        fail_memory(c->ctx, "a picture", 0);
    if (!s && all.count) s = draw(c, l, &all, rows, on);
    for (int64_t k = 0; k < all.count; k++) {
        ARRAY_FREE(&all.at[k].x);
        ARRAY_FREE(&all.at[k].y);
    }
    ARRAY_FREE(&all);
    return s;
}
