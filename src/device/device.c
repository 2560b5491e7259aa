/* Opening devices by name, and choosing kernels. */
#define _GNU_SOURCE /* strdup */
#include "device/device.h"

#include "base/system_memory.h"
#include "ops/custom/custom.h"

#include <stdio.h>

#define DEVICE(name) extern const device_def device_##name;
#include "device/devices.def"
#undef DEVICE

const device_def *const device_table[] = {
#define DEVICE(name) &device_##name,
#include "device/devices.def"
#undef DEVICE
    NULL,
};

static const struct {
    const char *name;
    kernel_level level;
} levels[] = {
    {"naive", LEVEL_NAIVE},
    {"parallel", LEVEL_PARALLEL},
    {"tiled", LEVEL_TILED},
    {"tiled-parallel", LEVEL_TILED_PARALLEL},
    {"simd", LEVEL_SIMD},
    {"blas", LEVEL_BLAS},
    {"avx512-bf16", LEVEL_AVX512_BF16},
    {"amx", LEVEL_AMX},
    {"best", LEVEL_BEST},
};

bool kernel_level_parse(const char *name, kernel_level *out)
{
    for (size_t i = 0; i < COUNT(levels); i++) {
        if (strcmp(levels[i].name, name)) continue;
        *out = levels[i].level;
        return true;
    }
    return false;
}

const char *kernel_level_name(kernel_level level)
{
    for (size_t i = 0; i < COUNT(levels); i++)
        if (levels[i].level == level) return levels[i].name;
    return "unknown";
}

bool kernel_level_admits(kernel_level ceiling, kernel_level level)
{
    if (level == LEVEL_BLAS) return ceiling == LEVEL_BLAS || ceiling == LEVEL_BEST;
    return level <= ceiling;
}

/* `best` prefers our own products: they measure faster than the library's (ingot bench ladder). */
static int rank(kernel_level ceiling, kernel_level level)
{
    return level == LEVEL_BLAS && ceiling == LEVEL_BEST ? 2 * LEVEL_SIMD - 1 : 2 * (int)level;
}

bool device_kernel_fits(const device *d, const kernel_def *k, const node *n)
{
    if (k->op != n->op || !kernel_level_admits(d->level, k->level)) return false;
    if (d->row_invariant && !(k->traits & KERNEL_ROW_INVARIANT)) return false;
    return k->match ? k->match(n, d->caps) : match_f32(n, d->caps);
}

bool device_has_kernels_for(const device *d, const op_def *op)
{
    for (kernel_table list = d->kernels; list && *list; list++)
        for (const kernel_def *k = *list; k->op; k++)
            if (k->op == op) return true;
    return d->any_op != NULL;
}

static const kernel_def *kernel_named(const device *d, const node *n, const char *name)
{
    for (kernel_table list = d->kernels; list && *list; list++)
        for (const kernel_def *k = *list; k->op; k++)
            if (!strcmp(k->name, name) && device_kernel_fits(d, k, n)) return k;
    return NULL;
}

/* The next name of a list with commas; *rest is NULL behind the last. */
static bool next_name(const char **rest, char name[64])
{
    if (!*rest) return false;
    const char *comma = strchr(*rest, ',');
    snprintf(name, 64, "%.*s", comma ? (int)(comma - *rest) : 63, *rest);
    *rest = comma ? comma + 1 : NULL;
    return true;
}

static const kernel_def *kernel_preferred(const device *d, const node *n)
{
    char name[64];
    const char *rest = d->prefer;
    const kernel_def *k = NULL;
    while (!k && next_name(&rest, name)) k = kernel_named(d, n, name);
    return k;
}

static bool custom_fits(const device *d, const node *n)
{
    const ingot_custom_def *def = d->custom ? custom_def_of(n->op) : NULL;
    return def && (!d->row_invariant || def->row_invariant) && d->custom->match(n, d->caps);
}

const kernel_def *device_kernel(const device *d, const node *n)
{
    const kernel_def *best = kernel_preferred(d, n);
    if (best) return best;
    const char *tuned = d->level == LEVEL_BEST ? tuning_find(d->tuning, n) : NULL;
    if (tuned) best = kernel_named(d, n, tuned);
    if (best || (tuned && !*tuned)) return best;
    if (custom_fits(d, n)) return d->custom;
    const kernel_table tables[] = {d->def->runs_host_code ? n->op->kernels : NULL, d->kernels};
    for (size_t t = 0; t < COUNT(tables); t++)
        for (kernel_table list = tables[t]; list && *list; list++)
            for (const kernel_def *k = *list; k->op; k++)
                if (!(k->traits & KERNEL_BY_REQUEST) &&
                    (!best || rank(d->level, k->level) > rank(d->level, best->level)) && device_kernel_fits(d, k, n))
                    best = k;
    return best ? best : d->any_op;
}

static const device_def *find(const char *name)
{
    for (const device_def *const *def = device_table; *def; def++)
        if (!strcmp((*def)->name, name)) return *def;
    return NULL;
}

static status unknown_device(context *ctx, const char *name)
{
    const char *names[8];
    size_t count = 0;
    text list = {0};
    for (const device_def *const *def = device_table; *def && count < COUNT(names); def++) {
        text_printf(&list, "%s%s", count ? ", " : "", (*def)->name);
        names[count++] = (*def)->name;
    }
    const char *near = nearest_name(name, names, count);
    status s = ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "there is no device %s%s%s%s; this build has: auto, %s", name,
                          near ? " (did you mean " : "", near ? near : "", near ? "?)" : "", list.at ? list.at : "");
    text_free(&list);
    return s;
}

static status parse_level(context *ctx, const ingot_device_options *options, kernel_level *out)
{
    *out = LEVEL_BEST;
    if (!options || !options->level || kernel_level_parse(options->level, out)) return INGOT_OK;
    const char *names[COUNT(levels)];
    for (size_t i = 0; i < COUNT(levels); i++) names[i] = levels[i].name;
    const char *near = nearest_name(options->level, names, COUNT(names));
    return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                      "there is no level %s%s%s%s; the levels are naive, parallel, tiled, tiled-parallel, simd, blas, "
                      "avx512-bf16, amx, best",
                      options->level, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

char *device_place(const device *d)
{
    text place = {0};
    text_printf(&place, "%s: ", d->def->name);
    d->def->describe(d, &place);
    if (!place.failed) return place.at;
    text_free(&place);
    return NULL;
}

/* A kernel that is not in this build: the choice falls back to the levels, and sums may be added up in another order. */
static void warn_of_missing_kernels(const device *d, const char *path)
{
    for (int64_t i = 0; i < d->tuning->choices.count; i++) {
        const char *name = d->tuning->choices.at[i].kernel;
        bool known = !*name;
        for (kernel_table list = d->kernels; list && *list && !known; list++)
            for (const kernel_def *k = *list; k->op && !known; k++) known = !strcmp(k->name, name);
        if (!known)
            log_line(d->ctx, INGOT_LOG_WARNING,
                     "%s names kernel %s, which this build lacks: results are near, not the same", path, name);
    }
}

status device_read_tuning(device *d, const char *path)
{
    char *place = device_place(d);
    if (!place) return fail_memory(d->ctx, path, 64);
    tuning_free(d->tuning);
    status s = tuning_read(d->ctx, path, place, &d->tuning);
    free(place);
    if (!s) warn_of_missing_kernels(d, path);
    return s;
}

static status check_preferred(const device *d)
{
    char name[64];
    const char *rest = d->prefer;
    while (next_name(&rest, name)) {
        bool found = false;
        for (kernel_table list = d->kernels; list && *list && !found; list++)
            for (const kernel_def *k = *list; k->op && !found; k++) found = !strcmp(k->name, name);
        if (!found)
            return ingot_fail(d->ctx, INGOT_ERROR_ARGUMENT,
                              "there is no kernel %s on %s; `ingot devices --kernels --device %s` lists them", name,
                              d->def->name, d->def->name);
    }
    return INGOT_OK;
}

/* Options that are for every device, of which some refuse some. */
static status take_options(device *d, const ingot_device_options *o)
{
    if (!o) return INGOT_OK;
    if (o->tf32 && !d->def->has_tf32)
        return ingot_fail(d->ctx, INGOT_ERROR_UNSUPPORTED, "%s multiplies float32 in full only; leave tf32 out",
                          d->def->name);
    if (!o->prefer || !*o->prefer) return INGOT_OK;
    d->prefer = strdup(o->prefer);
    return d->prefer ? check_preferred(d) : fail_memory(d->ctx, "a device", strlen(o->prefer));
}

static status open_one(context *ctx, const device_def *def, const ingot_device_options *options, kernel_level level,
                       ingot_device **out)
{
    device *d = calloc(1, sizeof *d);
    if (!d) return fail_memory(ctx, "a device", sizeof *d);
    *d = (device){.ctx = ctx, .def = def, .level = level};
    d->row_invariant = options && options->row_invariant;
    d->tf32 = options && options->tf32;
    d->poison = options && options->poison;
    d->step_by_step = options && options->step_by_step;
    d->most_bytes = options ? options->most_bytes : 0;
    status s = def->open(ctx, options, d);
    if (s) {
        free(d);
        return s;
    }
    d->joins = d->def->joins;
    s = take_options(d, options);
    if (s)
        ingot_device_close(d);
    else
        *out = d;
    return s;
}

static status open_named(ingot_context *ctx, const char *name, const ingot_device_options *options, ingot_device **out)
{
    *out = NULL;
    kernel_level level;
    TRY(parse_level(ctx, options, &level));
    if (strcmp(name, "auto")) {
        const device_def *def = find(name);
        return def ? open_one(ctx, def, options, level, out) : unknown_device(ctx, name);
    }
    status s = INGOT_ERROR_DEVICE; /* the last one's, the CPU's, with its message */
    for (const device_def *const *def = device_table; *def && !*out; def++)
        if (!(*def)->by_name_only) s = open_one(ctx, *def, options, level, out);
    if (!*out) return s;
    log_line(ctx, INGOT_LOG_INFO, "device auto: %s", (*out)->def->name);
    return INGOT_OK;
}

ingot_status ingot_device_open(ingot_context *ctx, const char *name, const ingot_device_options *options,
                               ingot_device **out)
{
    TRY(open_named(ctx, name, options, out));
    if (!options || !options->tuning || (*out)->level != LEVEL_BEST) return INGOT_OK;
    status s = device_read_tuning(*out, options->tuning);
    if (!s) return INGOT_OK;
    ingot_device_close(*out);
    *out = NULL;
    return s;
}

void ingot_device_close(ingot_device *d)
{
    if (!d) return;
    d->def->close(d);
    tuning_free(d->tuning);
    free(d->prefer);
    free(d);
}

status device_alloc(device *d, int64_t bytes, allocation *out)
{
    *out = (allocation){0};
    int64_t taken = device_count(&d->taken_bytes, bytes);
    char wanted[24], most[24], had[24];
    status s = INGOT_OK;
    if (d->most_bytes && taken > d->most_bytes)
        s = ingot_fail(d->ctx, INGOT_ERROR_MEMORY,
                       "%s may hand out %s (--most-memory), %s are taken and %s more are needed", d->def->name,
                       format_bytes(most, (uint64_t)d->most_bytes), format_bytes(had, (uint64_t)(taken - bytes)),
                       format_bytes(wanted, (uint64_t)bytes));
    if (!s) s = d->def->alloc(d, bytes, out);
    if (s) {
        *out = (allocation){0}; /* what has bytes is given back, and would be counted again */
        device_count(&d->taken_bytes, -bytes);
    } else {
        device_count(&d->counts.allocations, 1);
    }
    return s;
}

void device_free(device *d, allocation *a)
{
    device_count(&d->taken_bytes, -a->bytes);
    d->def->free(d, a);
}

uint64_t device_memory_in_use(const device *d)
{
    return d->def->memory_in_use ? (uint64_t)d->def->memory_in_use(d) : memory_resident();
}

uint64_t device_memory_left(const device *d)
{
    if (d->def->runs_nothing) return UINT64_MAX;
    uint64_t left = d->def->memory_left ? (uint64_t)d->def->memory_left(d) : memory_available();
    return d->most_bytes ? MIN(left, (uint64_t)MAX(0, d->most_bytes - d->taken_bytes)) : left;
}

const char *ingot_device_name(const ingot_device *d)
{
    return d->def->name;
}
