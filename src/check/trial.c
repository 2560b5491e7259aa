/* Compiling, filling, running and reading the graphs of a subject. */
#include "check/trial.h"

#include "ops/source/source.h"
#include "passes/passes.h"

#include <stdio.h>

void trial_failed(trial *t, const char *format, ...)
{
    t->row->failures++;
    if (t->row->failure) return;
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    t->row->failure = malloc(strlen(message) + 1);
    if (t->row->failure) strcpy(t->row->failure, message);
}

const trial_output *trial_find(const trial_outputs *outputs, const char *name)
{
    for (int64_t i = 0; i < outputs->count; i++)
        if (!strcmp(outputs->at[i].name, name)) return &outputs->at[i];
    return NULL;
}

status trial_compile(trial *t, const check_subject *subject, check_layout layout, check_want want, ingot_program **out)
{
    build *b;
    TRY(subject_build(t->ctx, subject, layout, want, t->seed, t->arena, &t->sources, &b));
    bool owned = layout == LAYOUT_OWNED; /* the variant that plans hardest */
    ingot_compile_options options = {.recompute = owned};
    return ingot_compile(b, owned ? t->devices->plain : t->devices->poisoned, &options, out);
}

static const check_source *find_source(const trial *t, const char *name)
{
    for (int64_t i = 0; i < t->sources.count; i++)
        if (!strcmp(t->sources.at[i].name, name)) return &t->sources.at[i];
    return NULL;
}

static status write_port(trial *t, ingot_program *p, const char *name, check_layout layout, bool state)
{
    const check_source *source = find_source(t, name);
    if (!source) return ingot_fail(t->ctx, INGOT_ERROR_INTERNAL, "%s: %s has no values", t->subject->name, name);
    dtype type = source->dtype;
    if (p->device->def->promotes_to_f64 && dtype_is_float(type)) type = INGOT_F64;
    int64_t bytes =
        ingot_dtype_bytes(type) * shape_count(state ? source->shape : source_storage(source->shape, layout));
    void *image = malloc((size_t)bytes + 1);
    if (!image) return fail_memory(t->ctx, "the values of a check", (uint64_t)bytes);
    source_image(source, layout, type, image);
    status s = state ? ingot_store_write(p->store, name, image, bytes) : ingot_write(p, name, image, bytes);
    free(image);
    return s;
}

static status write_sources(trial *t, ingot_program *p, check_layout layout)
{
    const build *b = p->graph;
    for (int64_t i = 0; i < b->inputs.count; i++) TRY(write_port(t, p, b->inputs.at[i].name, layout, false));
    for (int64_t i = 0; i < b->states.count; i++) {
        const store_state *state = store_find(p->store, b->states.at[i].name);
        if (state && state->joined) continue; /* its members have values */
        TRY(write_port(t, p, b->states.at[i].name, layout, true));
    }
    return INGOT_OK;
}

static status read_port(trial *t, ingot_program *p, const char *name, dtype type, double *out, int64_t count)
{
    int64_t bytes = count * ingot_dtype_bytes(type);
    void *raw = malloc((size_t)bytes + 1);
    if (!raw) return fail_memory(t->ctx, "the results of a check", (uint64_t)bytes);
    status s = ingot_read(p, name, raw, bytes);
    for (int64_t i = 0; i < count && !s; i++) out[i] = dtype_load(type, raw, i);
    free(raw);
    return s;
}

status trial_run(trial *t, ingot_program *p, check_layout layout, trial_outputs *out)
{
    TRY(write_sources(t, p, layout));
    TRY(ingot_run(p, NULL));
    out->count = 0;
    for (int64_t i = 0; i < p->graph->outputs.count; i++) {
        port port = p->graph->outputs.at[i];
        int64_t count = shape_count(port.value->shape);
        trial_output o = {
            .name = arena_strdup(t->arena, port.name), .dtype = port.value->dtype, .shape = port.value->shape};
        o.values = ARENA_ARRAY(t->arena, double, count);
        if (!o.name || !o.values || !ARRAY_PUSH(out, o))
            return fail_memory(t->ctx, "the results of a check", (uint64_t)count * 8);
        TRY(read_port(t, p, port.name, o.dtype, o.values, count));
    }
    return INGOT_OK;
}

static const kernel_def *no_kernel(const void *device, const node *n)
{
    (void)device, (void)n;
    return NULL;
}

/* All floats in float64, sources as well: finite differences need steps that float32 cannot hold. */
static status promote(build *b)
{
    for (node *n = b->first; n; n = n->after) {
        if (n->op != &op_input_def && n->op != &op_state_def && n->op != &op_uniform_def) continue;
        source_attrs *attrs = n->attrs;
        if (dtype_is_float((dtype)attrs->dtype)) attrs->dtype = INGOT_F64;
    }
    return pass_promote(b);
}

bool trial_is_narrow(const trial *t, dtype d)
{
    return dtype_is_narrow(d) || (d == INGOT_F32 && t->options->dtype == INGOT_F64);
}

/* By id: whether a device writes the value narrower than it computes. What lower casts to float32 is not. */
static bool *narrow_values(const trial *t, const build *b)
{
    bool *narrow = ARENA_ARRAY(t->arena, bool, b->values + 1);
    if (!narrow) return NULL;
    memset(narrow, 0, (size_t)b->values + 1);
    for (const node *n = b->first; n; n = n->after)
        for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
            if (n->out[i]) narrow[n->out[i]->id] = trial_is_narrow(t, n->out[i]->dtype);
    return narrow;
}

static status compile_ref(trial *t, check_want want, const error_units *units, ingot_program **out)
{
    build *b;
    TRY(subject_build(t->ctx, t->subject, LAYOUT_CONTIGUOUS, want, t->seed, t->arena, &t->sources, &b));
    kernel_choice choice = {.kernel = no_kernel, .lowers_all = true, .promotes_to_f64 = true, .device_name = "ref"};
    status s = pass_lower(b, &choice);
    const bool *narrow = s ? NULL : narrow_values(t, b);
    if (!s && !narrow) s = fail_memory(t->ctx, "error bounds", (uint64_t)b->values);
    if (!s) s = promote(b);
    if (!s && units) s = error_bounds_add(b, units, narrow);
    if (!s) return ingot_compile(b, t->devices->ref, NULL, out);
    ingot_build_free(b);
    return s;
}

/* Takes the outputs named "<name>.error" out of `out`: they are the errors of <name>. */
static void join_errors(trial_outputs *out)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < out->count; i++) {
        trial_output o = out->at[i];
        size_t length = strlen(o.name);
        bool error = false;
        for (int64_t j = 0; j < kept && !error; j++) {
            size_t base = strlen(out->at[j].name);
            error = length == base + 6 && !strncmp(o.name, out->at[j].name, base) && !strcmp(o.name + base, ".error");
            if (error) out->at[j].errors = o.values;
        }
        if (!error) out->at[kept++] = o;
    }
    out->count = kept;
}

status trial_expect(trial *t, const error_units *units)
{
    ingot_program *p;
    check_want want = t->subject->differentiable ? WANT_GRADIENTS : WANT_OUTPUTS;
    TRY(compile_ref(t, want, units, &p));
    status s = trial_run(t, p, LAYOUT_CONTIGUOUS, &t->expected);
    join_errors(&t->expected);
    ingot_program_free(p);
    return s;
}

status trial_compile_loss(trial *t, ingot_program **out)
{
    return compile_ref(t, WANT_LOSS, NULL, out);
}
