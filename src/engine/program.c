/* Compiling, running, reading and writing programs. */
#define _GNU_SOURCE /* clock_gettime */
#include "engine/program.h"
#include "ops/source/source.h"
#include "passes/passes.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

static const kernel_def *choose(const void *d, const node *n)
{
    return device_kernel(d, n);
}

static status run_passes(build *b, const device *d, const ingot_compile_options *options)
{
    kernel_choice choice = {.kernel = choose,
                            .device = d,
                            .lowers_all = d->def->lowers_all,
                            .promotes_to_f64 = d->def->promotes_to_f64,
                            .device_name = d->def->name};
    bool oracle = choice.lowers_all;
#ifdef NDEBUG
#define CHECK(pass) ((status)INGOT_OK)
#else
#define CHECK(pass) graph_verify(b, pass)
#endif
    TRY(CHECK("build"));
    if (options && options->recompute) {
        TRY(pass_recompute(b));
        TRY(CHECK("recompute"));
    }
    if (!oracle) TRY(pass_simplify(b));
    drop_dead_nodes(b);
    TRY(CHECK("simplify"));
    if (!oracle) TRY(pass_match(b, &choice));
    TRY(CHECK("match"));
    TRY(pass_lower(b, &choice));
    TRY(CHECK("lower"));
    if (oracle) {
        TRY(pass_promote(b));
    } else {
        TRY(pass_simplify(b));
        TRY(CHECK("simplify again"));
        TRY(pass_absorb(b, &choice));
        TRY(CHECK("absorb"));
        TRY(pass_fuse(b));
        TRY(CHECK("fuse"));
    }
    drop_dead_nodes(b);
    TRY(pass_hoist(b));
    TRY(pass_updates(b));
    TRY(CHECK("updates"));
    TRY(pass_choose(b, &choice));
    TRY(pass_layout(b, &choice));
    return CHECK("layout");
#undef CHECK
}

static status declare_states(ingot_program *p)
{
    for (int64_t i = 0; i < p->graph->states.count; i++) {
        const value *v = p->graph->states.at[i].value;
        const source_attrs *a = v->node->attrs;
        store_state *state;
        /* The dtype that the graph gave it: the pass that promotes has changed the value's own. */
        TRY(store_declare(p->store, v->name, (dtype)a->dtype, v->shape, a->group, &state));
    }
    return INGOT_OK;
}

static status allocate_states(ingot_program *p)
{
    for (int64_t i = 0; i < p->graph->states.count; i++)
        TRY(store_allocate(p->store, store_find(p->store, p->graph->states.at[i].value->name)));
    return INGOT_OK;
}

static void bind_tensor(const ingot_program *p, tensor *t, value *v)
{
    if (!v) return;
    while (v->storage != v) v = v->storage;
    const buffer *b = &p->buffers.at[p->buffer_of[v->id]];
    t->memory = b->kind == BUFFER_ARENA ? &p->store->activations : b->kind == BUFFER_OWN ? &p->own : b->state->memory;
    t->data = t->memory && t->memory->address ? (char *)t->memory->address + t->byte_offset : NULL;
}

static void bind_step(const ingot_program *p, step *s)
{
    for (int i = 0; i < s->inputs; i++) bind_tensor(p, &s->in[i], s->node->in[i]);
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) bind_tensor(p, &s->out[i], s->node->out[i]);
    if (!s->scratch_bytes) return;
    s->scratch_memory = &p->store->activations;
    s->scratch = s->scratch_memory->address ? (char *)s->scratch_memory->address + s->scratch_offset : NULL;
}

status program_bind(ingot_program *p)
{
    if (!p->bound) return INGOT_OK; /* it will be, at the end of its compilation */
    for (int64_t i = 0; i < p->prepare.count; i++) bind_step(p, &p->prepare.steps[i]);
    for (int64_t i = 0; i < p->main.count; i++) bind_step(p, &p->main.steps[i]);
    p->device->def->drop(p->device, p->compiled);
    p->compiled = NULL;
    p->bindings++;
    return INGOT_OK;
}

static status prepare_kernels(ingot_program *p)
{
    for (int64_t i = 0; i < p->main.count + p->prepare.count; i++) {
        step *s = &p->main.steps[i];
        if (s->kernel->prepare) TRY(s->kernel->prepare(p->device->ctx, s, p->device->caps, &s->prepared));
    }
    return INGOT_OK;
}

static status take_memory(ingot_program *p)
{
    device *d = p->device;
    TRY(allocate_states(p));
    if (p->store->plan_only) return INGOT_OK;
    if (p->own_bytes) {
        TRY(device_alloc(d, p->own_bytes, &p->own));
        TRY(d->def->fill(d, &p->own, 0, &(uint8_t){d->poison ? 0xff : 0}, 1, p->own_bytes));
    }
    if (!ARRAY_PUSH(&p->store->programs, p)) return fail_memory(d->ctx, "a program", sizeof *p);
    TRY(store_reserve(p->store, p->arena_bytes));
    p->bound = true;
    TRY(prepare_kernels(p));
    return program_bind(p);
}

static void log_dump(ingot_program *p, const char *what)
{
    const device_def *def = p->device->def; /* which steps are one launch is known behind it */
    if (what && def->launch_of && !p->compiled && !p->store->plan_only)
        (void)def->compile(p->device, &p->main, &p->compiled);
    char *dump = what ? ingot_program_dump(p, what, "text") : NULL;
    if (!dump) return;
    for (char *line = strtok(dump, "\n"); line; line = strtok(NULL, "\n"))
        log_line(p->device->ctx, INGOT_LOG_INFO, "%s", line);
    free(dump);
}

ingot_status ingot_compile(ingot_build *b, ingot_device *d, const ingot_compile_options *options, ingot_program **out)
{
    *out = NULL;
    status s = ingot_build_status(b);
    ingot_program *p = s ? NULL : calloc(1, sizeof *p);
    if (!p) {
        s = s ? s : fail_memory(d->ctx, "a program", sizeof *p);
        ingot_build_free(b);
        return s;
    }
    p->graph = b;
    p->device = d;
    p->store = options ? options->store : NULL;
    p->owns_store = !p->store;
    if (p->owns_store) TRY_OR(failed, ingot_store_new(d, &p->store));
    TRY_OR(failed, declare_states(p));
    TRY_OR(failed, join_states(p));
    TRY_OR(failed, derive_states(p));
    TRY_OR(failed, run_passes(b, d, options));
    TRY_OR(failed, derive_note_groups(p));
    TRY_OR(failed, program_assign(p));
    TRY_OR(failed, take_memory(p));
    log_dump(p, options ? options->dump : NULL);
    *out = p;
    return INGOT_OK;
failed:
    ingot_program_free(p);
    return s;
}

void ingot_program_free(ingot_program *p)
{
    if (!p) return;
    device *d = p->device;
    chain_free(p->alone);
    program_unstage(p);
    d->def->drop(d, p->compiled);
    for (int64_t i = 0; p->main.steps && i < p->main.count + p->prepare.count; i++) {
        step *s = &p->main.steps[i];
        if (s->prepared && s->kernel->unprepare) s->kernel->unprepare(s->prepared);
    }
    if (p->own.bytes) device_free(d, &p->own);
    if (p->store) {
        int64_t kept = 0;
        for (int64_t i = 0; i < p->store->programs.count; i++)
            if (p->store->programs.at[i] != p) p->store->programs.at[kept++] = p->store->programs.at[i];
        p->store->programs.count = kept;
    }
    if (p->owns_store) ingot_store_free(p->store);
    ARRAY_FREE(&p->buffers);
    ARRAY_FREE(&p->derived);
    ARRAY_FREE(&p->updates);
    free(p->buffer_of);
    free(p->scratch_of);
    free(p->main.ns);
    free(p->group_ends);
    free(p->group_ns);
    ingot_build_free(p->graph);
    free(p);
}

status device_write_as(device *d, const allocation *to, int64_t offset, dtype storage, const void *data, dtype given,
                       int64_t count)
{
    if (storage == given) return d->def->write(d, to, offset, data, count * ingot_dtype_bytes(given));
    int64_t bytes = count * ingot_dtype_bytes(storage);
    void *converted = malloc((size_t)MAX(bytes, 1));
    if (!converted) return fail_memory(d->ctx, "converting a tensor", (uint64_t)bytes);
    dtype_convert(storage, converted, given, data, count);
    status s = d->def->write(d, to, offset, converted, bytes);
    free(converted);
    return s;
}

status device_read_as(device *d, const allocation *from, int64_t offset, dtype storage, void *data, dtype wanted,
                      int64_t count)
{
    if (storage == wanted) return d->def->read(d, from, offset, data, count * ingot_dtype_bytes(wanted));
    int64_t bytes = count * ingot_dtype_bytes(storage);
    void *converted = malloc((size_t)MAX(bytes, 1));
    if (!converted) return fail_memory(d->ctx, "converting a tensor", (uint64_t)bytes);
    status s = d->def->read(d, from, offset, converted, bytes);
    if (!s) dtype_convert(wanted, data, storage, converted, count);
    free(converted);
    return s;
}

static value *find_port(const port *ports, int64_t count, const char *name)
{
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(ports[i].name, name)) return ports[i].value;
    return NULL;
}

static status check_port(const ingot_program *p, const char *what, const char *name, const value *v, dtype type,
                         int64_t bytes)
{
    char dims[128];
    context *ctx = p->device->ctx;
    if (!v) return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "program %s has no %s %s", p->graph->name, what, name);
    int64_t wanted = shape_count(v->shape) * ingot_dtype_bytes(type);
    if (bytes == wanted) return INGOT_OK;
    return ingot_fail(ctx, INGOT_ERROR_SHAPE, "%s %s of program %s is %s%s, %lld bytes; got %lld", what, name,
                      p->graph->name, ingot_dtype_name(type), shape_print(dims, v->shape), (long long)wanted,
                      (long long)bytes);
}

ingot_status ingot_write(ingot_program *p, const char *input, const void *data, int64_t bytes)
{
    const value *v = find_port(p->graph->inputs.at, p->graph->inputs.count, input);
    dtype given = v ? (dtype)((const source_attrs *)v->node->attrs)->dtype : INGOT_F32;
    TRY(check_port(p, "input", input, v, given, bytes));
    for (int64_t i = 0; p->inputs.slots; i++)
        if (p->graph->inputs.at[i].value == v) return stage_write(p, i, given, data);
    const buffer *b = &p->buffers.at[p->buffer_of[v->id]];
    return device_write_as(p->device, &p->own, b->offset, v->dtype, data, given, shape_count(v->shape));
}

/* What the graph called the output's dtype before the oracle promoted it: float32 for every float there. */
static dtype wanted_dtype(const ingot_program *p, const value *v)
{
    return p->device->def->promotes_to_f64 && dtype_is_float(v->dtype) ? INGOT_F64 : v->dtype;
}

static status find_output(const ingot_program *p, const char *output, int64_t bytes, const value **out, dtype *wanted)
{
    const value *v = *out = find_port(p->graph->outputs.at, p->graph->outputs.count, output);
    *wanted = v ? wanted_dtype(p, v) : INGOT_F32;
    if (v && *wanted == INGOT_F64 && p->device->def->promotes_to_f64 && bytes == shape_count(v->shape) * 4)
        *wanted = INGOT_F32; /* asked for as any other device gives it */
    return check_port(p, "output", output, v, *wanted, bytes);
}

ingot_status ingot_read(ingot_program *p, const char *output, void *data, int64_t bytes)
{
    const value *v;
    dtype wanted;
    TRY(find_output(p, output, bytes, &v, &wanted));
    const buffer *b = &p->buffers.at[p->buffer_of[v->id]];
    return device_read_as(p->device, &p->own, b->offset, v->dtype, data, wanted, shape_count(v->shape));
}

status program_fetched(ingot_program *p, int slot, const char *output, void *data, int64_t bytes)
{
    const value *v;
    const void *host;
    dtype wanted;
    TRY(find_output(p, output, bytes, &v, &wanted));
    TRY(device_staging(p->device)->wait(p->device, p->results.staging, slot, &host));
    const char *at = (const char *)host + p->buffers.at[p->buffer_of[v->id]].offset - p->results.offset;
    dtype_convert(wanted, data, v->dtype, at, shape_count(v->shape));
    return INGOT_OK;
}

static status write_uniforms(ingot_program *p, const ingot_scalar *uniforms)
{
    for (int64_t i = 0; i < p->graph->uniforms.count; i++) {
        const value *v = p->graph->uniforms.at[i].value;
        const buffer *b = &p->buffers.at[p->buffer_of[v->id]];
        uint8_t element[8];
        dtype_store(v->dtype, element, 0, dtype_is_float(v->dtype) ? uniforms[i].f : (double)uniforms[i].i);
        TRY(p->device->def->write(p->device, &p->own, b->offset, element, ingot_dtype_bytes(v->dtype)));
    }
    return INGOT_OK;
}

status program_begin_run(ingot_program *p, const ingot_scalar *uniforms)
{
    if (p->store->plan_only)
        return ingot_fail(p->device->ctx, INGOT_ERROR_ARGUMENT,
                          "program %s was only planned; it has no memory to run in", p->graph->name);
    TRY(write_uniforms(p, uniforms));
    TRY(stage_send(p));
    TRY(derive_before_run(p));
    if (p->device->poison && p->arena_bytes)
        TRY(p->device->def->fill(p->device, &p->store->activations, 0, &(uint8_t){0xff}, 1,
                                 p->store->activations.bytes));
    if (p->prepared) return INGOT_OK;
    TRY(p->device->def->run(p->device, &p->prepare, NULL));
    p->prepared = true;
    return INGOT_OK;
}

void program_end_run(ingot_program *p)
{
    derive_after_run(p);
}

bool program_is_watched(const ingot_program *p)
{
    return p->device->poison || p->device->step_by_step || p->groups || p->main.ns;
}

static status run_one_by_one(ingot_program *p, status (*after)(ingot_program *p, const step *s), const step **bad);
static status run_groups(ingot_program *p);
static status check_guards(ingot_program *p, const step *s);

/* Names the kernel whose error comes to light when it is waited for. */
static status wait_for_step(ingot_program *p, const step *s)
{
    device *d = p->device;
    status failed = d->def->sync(d);
    if (!failed) return INGOT_OK;
    text why = {0};
    text_puts(&why, ingot_message(d->ctx));
    ingot_fail(d->ctx, failed, "kernel %s of op %s (%s): %s", s->kernel->name, s->node->op->name,
               *s->node->scope ? s->node->scope : p->graph->name, why.at ? why.at : "");
    text_free(&why);
    return failed;
}

static status run_whole(ingot_program *p)
{
    if (p->device->step_by_step) return run_one_by_one(p, wait_for_step, NULL);
    if (!p->compiled) TRY(p->device->def->compile(p->device, &p->main, &p->compiled));
    return p->device->def->run(p->device, &p->main, p->compiled);
}

ingot_status ingot_run(ingot_program *p, const ingot_scalar *uniforms)
{
    TRY(program_begin_run(p, uniforms));
    TRY(p->device->poison ? run_one_by_one(p, check_guards, NULL) : p->groups ? run_groups(p) : run_whole(p));
    program_end_run(p);
    return INGOT_OK;
}

static status run_one_by_one(ingot_program *p, status (*after)(ingot_program *p, const step *s), const step **bad)
{
    for (int64_t i = 0; i < p->main.count; i++) {
        work one = {.name = p->main.name, .steps = &p->main.steps[i], .count = 1};
        if (bad) *bad = one.steps;
        TRY(p->device->def->run(p->device, &one, NULL));
        TRY(after(p, one.steps));
    }
    if (bad) *bad = NULL;
    return INGOT_OK;
}

/* The bytes behind every buffer must still be what poison made them. */
static status check_guards(ingot_program *p, const step *s)
{
    for (int64_t i = 0; i < p->buffers.count; i++) {
        const buffer *b = &p->buffers.at[i];
        if (b->kind == BUFFER_STATE) continue;
        const allocation *memory = b->kind == BUFFER_ARENA ? &p->store->activations : &p->own;
        int64_t start = b->bytes, end = (b->bytes + 63) / 64 * 64 + (b->kind == BUFFER_OWN ? 64 : 0);
        if (b->kind == BUFFER_ARENA) end = start + 64;
        uint8_t guard[160];
        TRY(p->device->def->read(p->device, memory, b->offset + start, guard, end - start));
        for (int64_t k = 0; k < end - start; k++)
            if (guard[k] != 0xff)
                return ingot_fail(p->device->ctx, INGOT_ERROR_DEVICE, "kernel %s wrote behind a buffer of %lld bytes",
                                  s->kernel->name, (long long)b->bytes);
    }
    return INGOT_OK;
}

static status check_finite(ingot_program *p, const step *s)
{
    for (int o = 0; o < NODE_MAX_OUTPUTS; o++) {
        const tensor *t = &s->out[o];
        if (!s->node->out[o] || !dtype_is_float(t->dtype)) continue;
        int64_t count = shape_count(t->shape), size = ingot_dtype_bytes(t->dtype);
        void *host = malloc((size_t)(count * size));
        if (!host) return fail_memory(p->device->ctx, "checking a step", (uint64_t)(count * size));
        status read = p->device->def->read(p->device, t->memory, t->byte_offset, host, count * size);
        for (int64_t i = 0; i < count && !read; i++) {
            double v = dtype_load(t->dtype, host, i);
            if (isfinite(v)) continue;
            read = ingot_fail(p->device->ctx, INGOT_ERROR_NOT_FINITE,
                              "op %s (%s, kernel %s) made %s at element %lld of output %s", s->node->op->name,
                              *s->node->scope ? s->node->scope : p->graph->name, s->kernel->name,
                              isnan(v) ? "a NaN" : "an infinity", (long long)i, s->node->op->outputs[o].name);
        }
        free(host);
        TRY(read);
    }
    return INGOT_OK;
}

status program_run_checked(ingot_program *p, const ingot_scalar *uniforms, const step **bad)
{
    TRY(program_begin_run(p, uniforms));
    TRY(run_one_by_one(p, check_finite, bad));
    derive_after_run(p);
    return INGOT_OK;
}

status program_time_steps(ingot_program *p)
{
    if (!p->main.ns) p->main.ns = calloc((size_t)MAX(p->main.count, 1), sizeof *p->main.ns);
    return p->main.ns ? INGOT_OK : fail_memory(p->device->ctx, "timing a program", (uint64_t)p->main.count * 8);
}

static int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static status run_groups(ingot_program *p)
{
    device *d = p->device;
    for (int64_t g = 0, first = 0; g < p->groups; first = p->group_ends[g++]) {
        work part = {.name = p->main.name, .steps = &p->main.steps[first], .count = p->group_ends[g] - first};
        int64_t began = clock_ns();
        TRY(p->groups == 1 ? run_whole(p) : d->def->run(d, &part, NULL));
        TRY(d->def->sync(d));
        p->group_ns[g] = clock_ns() - began;
    }
    return INGOT_OK;
}

status program_time_groups(ingot_program *p, const int64_t *ends, int64_t count)
{
    p->groups = 0;
    if (!count) return INGOT_OK;
    free(p->group_ends);
    free(p->group_ns);
    p->group_ends = malloc((size_t)count * sizeof *ends);
    p->group_ns = calloc((size_t)count, sizeof *p->group_ns);
    if (!p->group_ends || !p->group_ns)
        return fail_memory(p->device->ctx, "timing a program", (uint64_t)count * sizeof *ends);
    memcpy(p->group_ends, ends, (size_t)count * sizeof *ends);
    p->groups = count;
    return INGOT_OK;
}
