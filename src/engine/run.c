/* Runs of programs: as a whole, or step by step where somebody looks on: for bad numbers, for guards, for times. */
#define _GNU_SOURCE /* clock_gettime */
#include "engine/program.h"

#include <math.h>
#include <time.h>

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

static status run_whole(ingot_program *p)
{
    if (p->device->step_by_step) return run_one_by_one(p, wait_for_step, NULL);
    if (!p->compiled) TRY(p->device->def->compile(p->device, &p->main, &p->compiled));
    return p->device->def->run(p->device, &p->main, p->compiled);
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

ingot_status ingot_run(ingot_program *p, const ingot_scalar *uniforms)
{
    TRY(program_begin_run(p, uniforms));
    TRY(p->device->poison ? run_one_by_one(p, check_guards, NULL) : p->groups ? run_groups(p) : run_whole(p));
    program_end_run(p);
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
