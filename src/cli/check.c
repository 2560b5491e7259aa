/* ingot check: every op of the table on a device, against the oracle and against finite differences. */
#include "check/check.h"
#include "cli/terminal.h"
#include "cli/model_options.h"

#include <stdio.h>

typedef struct check_verb_options {
    const char *device, *level, *dtype, *prefer, *kernel_cache;
    string_list ops;
    int64_t seed;
    bool overlap, small;
    int64_t persistent;
} check_verb_options;

static const option options[] = {
    {"device", STRING_AT(check_verb_options, device), "NAME", "device to check", .initial = "cpu",
     .names = names_of_devices},
    {"cpu-level", STRING_AT(check_verb_options, level), "LEVEL",
     "rung of the cpu ladder: naive, parallel, tiled, tiled-parallel, simd, blas, best", .initial = "best",
     .names = names_of_levels},
    {"dtype", STRING_AT(check_verb_options, dtype), "DTYPE", "of float inputs", .initial = "float32",
     .names = names_of_dtypes},
    {"ops", LIST_AT(check_verb_options, ops), "OP[,OP...]", "only these",
     .initial_help = "all, and a small model of each family"},
    {"overlap", BOOL_AT(check_verb_options, overlap), NULL,
     "kernels are launched while those before them end (cuda, sm_90 on); the same bits either way", .initial = "true"},
    {"persistent", INT_AT(check_verb_options, persistent), "STEPS",
     "so many small steps or more, of decoding or of a small model's way forward, are one launch; 0: as is fastest, "
     "-1: never (cuda)",
     .initial = "0", .range = BETWEEN(-1, 1000000)},
    {"prefer", STRING_AT(check_verb_options, prefer), "KERNEL,..", "kernels by name, used wherever they fit"},
    {"kernel-cache", STRING_AT(check_verb_options, kernel_cache), "DIR",
     "where kernels compiled at run time are kept (cuda); none: nowhere", .initial_help = "$XDG_CACHE_HOME/ingot"},
    {"small", BOOL_AT(check_verb_options, small), NULL,
     "small samples and no finite differences: for tools that make the device slow, as tools/sanitize_cuda.sh does"},
    {"seed", INT_AT(check_verb_options, seed), "N", "of values, weights and directions", .initial = "1"},
};

static status unknown_op(call *c, const char *name)
{
    const char *names[512];
    size_t count = 0;
    for (const op_def *const *op = op_table; *op && count < COUNT(names); op++) names[count++] = (*op)->name;
    const char *near = nearest_name(name, names, count);
    return fail_usage(c, "--ops %s: there is no such op%s%s%s", name, near ? "; did you mean " : "", near ? near : "",
                      near ? "?" : "");
}

/* "a,b" and repeated flags both list ops. The result ends with NULL. */
static status choose_ops(call *c, const string_list *given, const op_def ***out)
{
    ARRAY(const op_def *) chosen = {0};
    status s = INGOT_OK;
    for (int64_t i = 0; i < given->count && !s; i++) {
        char *names = arena_strdup(c->arena, given->at[i]), *rest = names;
        while (names && rest && !s) {
            char *name = rest, *comma = strchr(rest, ',');
            rest = comma ? comma + 1 : NULL;
            if (comma) *comma = 0;
            const op_def *op = op_find(name);
            if (!op) s = unknown_op(c, name);
            if (!s && !ARRAY_PUSH(&chosen, op)) s = fail_memory(c->ctx, "a list of ops", 0);
        }
    }
    if (!s && chosen.count && !ARRAY_PUSH(&chosen, NULL)) s = fail_memory(c->ctx, "a list of ops", 0);
    *out = chosen.at;
    return s;
}

static void print_table(const check_report *report)
{
    double seconds = 0;
    int samples = 0, runs = 0;
    printf("%-22s %7s %6s %17s %15s %8s\n", "op", "samples", "runs", "error/tolerance", "slope/tolerance", "time");
    for (int64_t i = 0; i < report->rows.count; i++) {
        const check_row *r = &report->rows.at[i];
        printf("%-22s %7d %6d %17.3g %15.3g %6.0fms %s\n", r->name, r->samples, r->runs, r->worst, r->worst_gradient,
               r->seconds * 1e3,
               r->failures ? "FAIL"
               : r->runs   ? ""
                           : "not taken by the device");
        if (r->failure) printf("    %s\n", r->failure);
        if (r->failures > 1) printf("    and %d more\n", r->failures - 1);
        if (r->warnings.at) printf("    %s", r->warnings.at);
        seconds += r->seconds, samples += r->samples, runs += r->runs;
    }
    printf("%d ops, %d samples, %d runs, %d failures, %.1f s\n", (int)report->rows.count, samples, runs,
           report->failures, seconds);
}

static status print_report_json(call *c, const check_report *report)
{
    json_t *rows = json_array();
    for (int64_t i = 0; i < report->rows.count; i++) {
        const check_row *r = &report->rows.at[i];
        double worst = r->worst < 1e300 ? r->worst : 1e300;
        json_array_append_new(rows, json_pack("{s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:s?}", "op", r->name,
                                              "samples", r->samples, "runs", r->runs, "skipped", r->skipped, "failures",
                                              r->failures, "worst", worst, "worst_slope", r->worst_gradient, "seconds",
                                              r->seconds, "failure", r->failure));
    }
    return print_json(c, json_pack("{s:i, s:o}", "failures", report->failures, "ops", rows));
}

/* Models that write are looked at with the ops that only they use. */
static bool decodes(const op_def *const *chosen)
{
    bool found = !chosen;
    for (; chosen && *chosen; chosen++)
        found |= !strcmp((*chosen)->name, "attention_rows") || !strcmp((*chosen)->name, "cached_attention");
    return found;
}

static status run(call *c, void *given)
{
    const check_verb_options *o = given;
    const op_def **chosen = NULL;
    check_report report = {0};
    status s = choose_ops(c, &o->ops, &chosen);
    check_options check = {.device = o->device,
                           .level = o->level,
                           .prefer = o->prefer,
                           .small = o->small,
                           .no_overlap = !o->overlap,
                           .persistent = (int)o->persistent,
                           .cache = kernel_cache_path(c, o->kernel_cache),
                           .ops = chosen,
                           .seed = (uint64_t)o->seed};
    if (!s && (!ingot_dtype_parse(o->dtype, &check.dtype) || !dtype_is_float(check.dtype)))
        s = fail_usage(c, "--dtype %s: float32, float64, float16 or bfloat16", o->dtype);
    if (!s) s = check_ops(c->ctx, &check, &report);
    if (!s && !chosen && check.dtype == INGOT_F32 && !o->small) s = check_models(c->ctx, &check, &report);
    if (!s && decodes(chosen) && check.dtype != INGOT_F64 && !o->small) s = check_decoding(c->ctx, &check, &report);
    if (!s) terminal_clear(c->terminal);
    if (!s && c->json) s = print_report_json(c, &report);
    if (!s && !c->json) print_table(&report);
    int failures = report.failures;
    if (!s && failures)
        s = ingot_fail(c->ctx, INGOT_ERROR_INTERNAL, "%s: %d failures; `--seed %lld --ops NAME` repeats one", o->device,
                       failures, (long long)o->seed);
    check_report_free(&report);
    free(chosen);
    return s;
}

const verb verb_check = {
    .name = "check",
    .summary = "compare every op on a device with the float64 oracle and with finite differences",
    .run = run,
    .options_bytes = sizeof(check_verb_options),
    .options = {{NULL, OPTIONS(options)}},
    .examples = "ingot check --device cpu\n"
                "ingot check --cpu-level naive --ops matmul,softmax\n",
};
