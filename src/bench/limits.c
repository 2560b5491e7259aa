/* Shares of limits. */
#include "bench/limits.h"

#include <math.h>

static double number(const json_t *row, const char *field)
{
    return json_number_value(json_object_get(row, field));
}

static bool is_of(const json_t *row, const char *bench)
{
    const char *found = json_string_value(json_object_get(row, "bench"));
    return found && !strcmp(found, bench);
}

void row_add_limit(json_t *row, const device_limit *limit)
{
    double gflops = number(row, "gflops"), most = limit->flops * 1e-9;
    if (most <= 0) return;
    if (is_of(row, "train") || is_of(row, "ladder")) {
        if (gflops <= 0) return;
        row_set_number(row, "limit_gflops", most);
        row_set_text(row, "limit_from", limit->from);
        row_set_number(row, is_of(row, "train") ? "mfu" : "of_peak", gflops / most);
        if (is_of(row, "ladder")) row_set_number(row, "idle", fmax(1 - gflops / most, 0));
        return;
    }
    if (limit->bytes <= 0 || !json_object_get(row, "gb_per_s")) return;
    double share = fmax(gflops / most, number(row, "gb_per_s") * 1e9 / limit->bytes);
    row_set_number(row, "of_limit", share);
    if (is_of(row, "profile")) row_set_number(row, "above_limit_ms", number(row, "ms") * fmax(1 - share, 0));
}

static void raise_row(json_t *row, const machine *on)
{
    const char *backend = json_string_value(json_object_get(row, "backend")),
               *name = json_string_value(json_object_get(row, "dtype"));
    dtype type;
    row_set_number(row, "peak_gflops", on->peak_flops * 1e-9);
    row_set_number(row, "copy_gb_per_s", on->copy_bytes * 1e-9);
    if (!backend || strcmp(backend, "cpu") || !name || !ingot_dtype_parse(name, &type)) return;
    device_limit limit = machine_limit(on, type);
    row_add_limit(row, &limit);
}

status limits_raise(context *ctx, machine *on, json_t *rows)
{
    machine after;
    size_t i;
    json_t *row;
    TRY(machine_measure(ctx, &after));
    double apart = machine_raise(on, &after);
    if (apart > 1.05)
        log_line(ctx, INGOT_LOG_WARNING,
                 "this machine's limits were %.0f %% apart before and after: others use it, and times are theirs too. "
                 "Shares are of the larger",
                 100 * (apart - 1));
    json_array_foreach(rows, i, row) raise_row(row, on);
    return INGOT_OK;
}
