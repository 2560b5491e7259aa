/* ingot devices: what this build can run on, here; and with --kernels, which kernel each op has. */
#include "base/file.h"
#include "bench/report.h"
#include "bench/tune.h"
#include "cli/model_options.h"
#include "device/device.h"

#include <stdio.h>

typedef struct devices_options {
    bool kernels, tune;
    const char *device, *level, *output;
    double seconds;
} devices_options;

static const option options[] = {
    {"kernels", BOOL_AT(devices_options, kernels), .help = "list the kernels of --device, op by op", .transient = true},
    {"tune", BOOL_AT(devices_options, tune),
     .help = "measure which kernels of --device are the fastest here, and keep that for `best`", .transient = true},
    {"output", STRING_AT(devices_options, output), "FILE", "where --tune keeps it",
     .initial_help = "~/.cache/ingot/tuning-DEVICE.json, where it is looked for"},
    {"seconds", DOUBLE_AT(devices_options, seconds), "S", "of --tune for each op, dtype and size", .initial = "0.3",
     .range = MORE_THAN(0)},
    {"device", STRING_AT(devices_options, device), "NAME", "the device whose kernels are listed", .initial = "auto",
     .names = names_of_devices},
    {"cpu-level", STRING_AT(devices_options, level), "LEVEL", "the highest rung of the CPU ladder", .initial = "best",
     .names = names_of_levels},
};

static json_t *describe_one(context *ctx, const device_def *def)
{
    ingot_device *d;
    if (ingot_device_open(ctx, def->name, NULL, &d))
        return json_pack("{s:s, s:s, s:b, s:s}", "name", def->name, "summary", def->summary, "available", 0, "why",
                         ingot_message(ctx));
    text line = {0};
    d->def->describe(d, &line); /* of the module, where one was loaded */
    json_t *one = json_pack("{s:s, s:s, s:b, s:s}", "name", def->name, "summary", def->summary, "available", 1,
                            "detail", line.at ? line.at : "");
    text_free(&line);
    ingot_device_close(d);
    return one;
}

static status list_devices(call *c)
{
    json_t *all = json_array();
    for (const device_def *const *def = device_table; *def; def++)
        json_array_append_new(all, describe_one(c->ctx, *def));
    if (c->json) return print_json(c, json_pack("{s:o}", "devices", all));
    size_t i;
    json_t *one;
    json_array_foreach(all, i, one)
    {
        const char *detail = json_string_value(json_object_get(one, "detail"));
        const char *why = json_string_value(json_object_get(one, "why"));
        printf("%-6s %s: %s%s\n", json_string_value(json_object_get(one, "name")),
               json_string_value(json_object_get(one, "summary")), detail ? detail : "not here: ", why ? why : "");
    }
    json_decref(all);
    return INGOT_OK;
}

static json_t *kernel_row(const device *d, const kernel_def *k)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:b}", "op", k->op->name, "kernel", k->name, "level",
                     kernel_level_name(k->level), "admitted", (int)kernel_level_admits(d->level, k->level),
                     "row_invariant", (k->traits & KERNEL_ROW_INVARIANT) != 0, "by_request",
                     (k->traits & KERNEL_BY_REQUEST) != 0);
}

static json_t *kernels_of(const device *d, const op_def *op)
{
    json_t *rows = json_array();
    for (kernel_table list = d->kernels; list && *list; list++)
        for (const kernel_def *k = *list; k->op; k++)
            if (k->op == op) json_array_append_new(rows, kernel_row(d, k));
    return rows;
}

static status list_kernels(call *c, const devices_options *o)
{
    ingot_device *d;
    TRY(ingot_device_open(c->ctx, o->device, &(ingot_device_options){.level = o->level}, &d));
    json_t *all = json_array();
    if (!c->json) printf("%-22s %-26s %-16s %s\n", "op", "kernel", "level", "row-invariant");
    for (const op_def *const *op = op_table; *op; op++) {
        if ((*op)->traits & (OP_SOURCE | OP_VIEW | OP_UPDATE)) continue;
        json_t *rows = kernels_of(d, *op), *row;
        size_t i;
        json_array_foreach(rows, i, row)
        {
            if (!c->json)
                printf("%-22s %-26s %-16s %s%s%s\n", i ? "" : (*op)->name,
                       json_string_value(json_object_get(row, "kernel")),
                       json_string_value(json_object_get(row, "level")),
                       json_is_true(json_object_get(row, "row_invariant")) ? "yes" : "no",
                       json_is_true(json_object_get(row, "admitted")) ? "" : "  (above --cpu-level)",
                       json_is_true(json_object_get(row, "by_request")) ? "  (by --prefer only)" : "");
        }
        if (!c->json && !json_array_size(rows)) printf("%-22s lowered to smaller ops\n", (*op)->name);
        if (c->json && !json_array_size(rows))
            json_array_append_new(all, json_pack("{s:s, s:n}", "op", (*op)->name, "kernel"));
        json_array_extend(all, rows);
        json_decref(rows);
    }
    json_t *root = json_pack("{s:s, s:s, s:o}", "device", d->def->name, "cpu_level", o->level, "kernels", all);
    ingot_device_close(d);
    if (c->json) return print_json(c, root);
    json_decref(root);
    return INGOT_OK;
}

/* ---- tuning ---- */

static const report_column tune_columns[] = {
    {"op", "op", NULL},   {"shape", "shape", NULL},    {"dtype", "dtype", NULL},     {"kernel", "kernel", NULL},
    {"us", "us", "%.2f"}, {"usual", "by level", NULL}, {"chosen", "measured", NULL},
};

static status keep_tuning(call *c, const device *d, const devices_options *o, const tuning *t)
{
    const char *path = o->output ? o->output : tuning_default_path(c, ingot_device_name(d));
    if (!path) return fail_usage(c, "--tune: there is no HOME to keep it in; give --output FILE");
    char *place = device_place(d), *folder = arena_strdup(c->arena, path),
         *slash = folder ? strrchr(folder, '/') : NULL;
    status s = place && folder ? INGOT_OK : fail_memory(c->ctx, path, 64);
    if (!s && slash && slash != folder) {
        *slash = 0;
        s = directory_create(c->ctx, folder);
    }
    if (!s) s = tuning_write(c->ctx, path, place, t);
    if (!s) log_line(c->ctx, INGOT_LOG_INFO, "%lld choices kept in %s", (long long)t->choices.count, path);
    free(place);
    return s;
}

static status tune(call *c, const devices_options *o)
{
    device *d;
    machine on;
    tuning *t = calloc(1, sizeof *t);
    json_t *rows = json_array();
    text out = {0};
    status s = t ? ingot_device_open(c->ctx, o->device, NULL, &d) : fail_memory(c->ctx, "a tuning", sizeof *t);
    if (s) {
        free(t);
        json_decref(rows);
        return s;
    }
    if (!context_pool(c->ctx)) s = fail_memory(c->ctx, "threads", 0);
    if (!s) machine_describe(context_pool(c->ctx), &on);
    if (!s) s = tune_device(d, o->seconds, &on, t, rows);
    if (!s) s = keep_tuning(c, d, o, t);
    report_print(rows, REPORT_MD, tune_columns, COUNT(tune_columns), &out);
    if (!s && c->json)
        s = print_json(c, json_pack("{s:O}", "results", rows));
    else if (!s)
        fputs(out.at ? out.at : "", stdout);
    text_free(&out);
    json_decref(rows);
    tuning_free(t);
    ingot_device_close(d);
    return s;
}

static status run(call *c, void *given)
{
    const devices_options *o = given;
    if (o->tune) return tune(c, o);
    return o->kernels ? list_kernels(c, o) : list_devices(c);
}

const verb verb_devices = {
    .name = "devices",
    .summary = "what this build can run on, and its kernels",
    .run = run,
    .options_bytes = sizeof(devices_options),
    .options = {{NULL, OPTIONS(options)}},
    .examples = "ingot devices\n"
                "ingot devices --kernels --device cpu --cpu-level parallel\n"
                "ingot devices --tune --device cpu\n",
};
