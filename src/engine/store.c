/* States by name, groups of them in flat buffers, and the shared arena. */
#include "engine/store.h"
#include "engine/program.h"

#include <stdio.h>

#define GROUP_ALIGN 64 /* bytes: a cache line, and a vector of the widest instruction set */
#define GROUP_LINE  32 /* elements, at least: the same places are aligned in a derived group */

static bool is_group_name(const char *name)
{
    return *name == '@';
}

ingot_status ingot_store_new(ingot_device *d, ingot_store **out)
{
    *out = NULL;
    ingot_store *s = calloc(1, sizeof *s);
    if (s) s->names = arena_new();
    if (!s || !s->names) {
        free(s);
        return fail_memory(d->ctx, "a store", sizeof *s);
    }
    s->device = d;
    *out = s;
    return INGOT_OK;
}

void ingot_store_free(ingot_store *s)
{
    if (!s) return;
    device *d = s->device;
    for (int64_t i = 0; i < s->groups.count; i++) ingot_program_free(s->groups.at[i]->make);
    for (int64_t i = 0; i < s->states.count; i++) {
        store_state *state = s->states.at[i];
        if (state->memory && !*state->group && !is_group_name(state->name)) {
            device_free(d, state->memory);
            free(state->memory);
        }
        free(state);
    }
    for (int64_t i = 0; i < s->groups.count; i++) {
        if (s->groups.at[i]->memory.bytes) device_free(d, &s->groups.at[i]->memory);
        free(s->groups.at[i]);
    }
    if (s->activations.bytes) device_free(d, &s->activations);
    ARRAY_FREE(&s->states);
    ARRAY_FREE(&s->groups);
    ARRAY_FREE(&s->programs);
    arena_free(s->names);
    free(s);
}

store_state *store_find(const ingot_store *s, const char *name)
{
    for (int64_t i = 0; i < s->states.count; i++)
        if (!strcmp(s->states.at[i]->name, name)) return s->states.at[i];
    return NULL;
}

store_group *store_find_group(const ingot_store *s, const char *name)
{
    for (int64_t i = 0; i < s->groups.count; i++)
        if (!strcmp(s->groups.at[i]->name, name)) return s->groups.at[i];
    return NULL;
}

static dtype storage_of(const device *d, dtype type)
{
    return d->def->promotes_to_f64 && dtype_is_float(type) ? INGOT_F64 : type;
}

static status join_group(ingot_store *s, store_state *state)
{
    store_group *g = store_find_group(s, state->group);
    context *ctx = s->device->ctx;
    if (!g) {
        g = calloc(1, sizeof *g);
        if (!g || !ARRAY_PUSH(&s->groups, g)) {
            free(g);
            return fail_memory(ctx, "a state group", sizeof *g);
        }
        *g = (store_group){.name = state->group, .dtype = state->dtype, .storage = state->storage};
    }
    if (g->closed)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "state %s comes too late for group %s: a program that uses it is compiled", state->name,
                          g->name);
    if (g->dtype != state->dtype)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "state %s is %s, its group %s is %s", state->name,
                          ingot_dtype_name(state->dtype), g->name, ingot_dtype_name(g->dtype));
    int64_t size = ingot_dtype_bytes(state->storage), line = MAX(GROUP_ALIGN / size, GROUP_LINE);
    state->offset = g->count * size;
    g->count += (shape_count(state->shape) + line - 1) / line * line;
    for (int64_t i = 0; i < s->groups.count; i++)
        if (s->groups.at[i]->master == g) s->groups.at[i]->count = g->count;
    return INGOT_OK;
}

store_group *store_group_of(const ingot_store *s, const store_state *state)
{
    const char *name = is_group_name(state->name) ? state->name + 1 : state->group;
    return *name ? store_find_group(s, name) : NULL;
}

status store_declare(ingot_store *s, const char *name, dtype type, shape sh, const char *group, store_state **out)
{
    context *ctx = s->device->ctx;
    char one[128], other[128];
    *out = store_find(s, name);
    if (*out) {
        if ((*out)->dtype == type && shape_equal((*out)->shape, sh)) return INGOT_OK;
        return ingot_fail(ctx, INGOT_ERROR_SHAPE, "state %s is %s%s in the store, the graph has %s%s", name,
                          ingot_dtype_name((*out)->dtype), shape_print(one, (*out)->shape), ingot_dtype_name(type),
                          shape_print(other, sh));
    }
    store_state *state = calloc(1, sizeof *state);
    if (!state) return fail_memory(ctx, "a state", sizeof *state);
    *state = (store_state){.name = arena_strdup(s->names, name),
                           .dtype = type,
                           .storage = storage_of(s->device, type),
                           .shape = sh,
                           .group = group ? arena_strdup(s->names, group) : ""};
    status failed = state->name && state->group ? INGOT_OK : fail_memory(ctx, "a state", strlen(name));
    if (!failed && *state->group) failed = join_group(s, state);
    if (!failed && !ARRAY_PUSH(&s->states, state)) failed = fail_memory(ctx, "a state", sizeof *state);
    if (failed) {
        free(state);
        return failed;
    }
    *out = state;
    return INGOT_OK;
}

static status derive_group(ingot_store *s, store_group *master, const char *name, dtype d, store_group **out)
{
    *out = store_find_group(s, name);
    if (*out) return INGOT_OK;
    store_group *g = calloc(1, sizeof *g);
    if (!g || !ARRAY_PUSH(&s->groups, g)) {
        free(g);
        return fail_memory(s->device->ctx, "a state group", sizeof *g);
    }
    *g = (store_group){
        .name = name, .dtype = d, .storage = d, .count = master->count, .master = master, .made_from = UINT64_MAX};
    *out = g;
    return INGOT_OK;
}

status store_derive(ingot_store *s, const store_state *of, dtype d, store_state **out)
{
    const char *name = arena_printf(s->names, "%s@%s", of->name, ingot_dtype_name(d));
    const char *group = arena_printf(s->names, "%s@%s", of->group, ingot_dtype_name(d));
    if (!name || !group) return fail_memory(s->device->ctx, "a state", 64);
    *out = store_find(s, name);
    if (*out) return INGOT_OK;
    store_group *g;
    TRY(derive_group(s, store_find_group(s, of->group), group, d, &g));
    store_state *state = calloc(1, sizeof *state);
    if (!state || !ARRAY_PUSH(&s->states, state)) {
        free(state);
        return fail_memory(s->device->ctx, "a state", sizeof *state);
    }
    *state = *of;
    state->name = name;
    state->group = g->name;
    state->dtype = state->storage = d;
    state->memory = NULL;
    state->offset = of->offset / ingot_dtype_bytes(of->storage) * ingot_dtype_bytes(d);
    *out = state;
    return INGOT_OK;
}

status store_join(ingot_store *s, const store_state *first, const store_state *last, store_state **out)
{
    const char *name = arena_printf(s->names, "%s..%s", first->name, last->name);
    *out = name ? store_find(s, name) : NULL;
    if (*out) return INGOT_OK;
    store_state *state = name ? calloc(1, sizeof *state) : NULL;
    if (!state || !ARRAY_PUSH(&s->states, state)) {
        free(state);
        return fail_memory(s->device->ctx, "a state", sizeof *state);
    }
    *state = *first;
    int64_t bytes = last->offset - first->offset + shape_count(last->shape) * ingot_dtype_bytes(last->storage);
    int64_t row = shape_count(first->shape) / first->shape.dim[0] * ingot_dtype_bytes(first->storage);
    state->name = name;
    state->shape.dim[0] = bytes / row;
    state->memory = NULL;
    state->joined = true;
    *out = state;
    return INGOT_OK;
}

static status allocate_zeroed(ingot_store *s, int64_t bytes, allocation *out)
{
    device *d = s->device;
    TRY(device_alloc(d, bytes, out));
    s->allocated_bytes += bytes;
    return d->def->fill(d, out, 0, &(uint8_t){0}, 1, bytes);
}

static status allocate_group(ingot_store *s, store_group *g)
{
    g->closed = true;
    if (g->memory.bytes) return INGOT_OK;
    return allocate_zeroed(s, g->count * ingot_dtype_bytes(g->storage), &g->memory);
}

status store_allocate(ingot_store *s, store_state *state)
{
    if (state->memory) return INGOT_OK;
    store_group *g = store_group_of(s, state);
    if (g) g->closed = true;
    if (g && g->master) g->master->closed = true;
    if (s->plan_only) return INGOT_OK;
    if (g) {
        TRY(allocate_group(s, g));
        state->memory = &g->memory;
        return INGOT_OK;
    }
    allocation *memory = calloc(1, sizeof *memory);
    if (!memory) return fail_memory(s->device->ctx, "a state", sizeof *memory);
    status failed = allocate_zeroed(s, shape_count(state->shape) * ingot_dtype_bytes(state->storage), memory);
    if (failed) {
        free(memory);
        return failed;
    }
    state->memory = memory;
    return INGOT_OK;
}

status store_reserve(ingot_store *s, int64_t bytes)
{
    if (s->plan_only || bytes <= s->activations.bytes) return INGOT_OK;
    device *d = s->device;
    TRY(d->def->sync(d));
    if (s->activations.bytes) {
        s->allocated_bytes -= s->activations.bytes;
        device_free(d, &s->activations);
    }
    TRY(device_alloc(d, bytes, &s->activations));
    s->allocated_bytes += bytes;
    if (d->poison) TRY(d->def->fill(d, &s->activations, 0, &(uint8_t){0xff}, 1, bytes)); /* NaN in every float dtype */
    for (int64_t i = 0; i < s->programs.count; i++) TRY(program_bind(s->programs.at[i]));
    return INGOT_OK;
}

int64_t store_state_bytes(const ingot_store *s)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < s->groups.count; i++)
        bytes += s->groups.at[i]->count * ingot_dtype_bytes(s->groups.at[i]->storage);
    for (int64_t i = 0; i < s->states.count; i++) {
        const store_state *state = s->states.at[i];
        if (!*state->group && !is_group_name(state->name))
            bytes += shape_count(state->shape) * ingot_dtype_bytes(state->storage);
    }
    return bytes;
}

value *ingot_state_group(build *b, ingot_store *s, const char *group)
{
    store_group *g = store_find_group(s, group);
    if (!g) return build_fail(b, INGOT_ERROR_ARGUMENT, "the store has no state group %s", group);
    g->closed = true; /* its size is part of the graph from here on */
    if (g->master) g->master->closed = true;
    char name[256];
    const char *scope = b->scope;
    snprintf(name, sizeof name, "@%s", group);
    b->scope = "";
    value *v = ingot_state(b, name, g->dtype, INGOT_SHAPE(g->count));
    b->scope = scope;
    return v;
}

static status find_for_copy(ingot_store *s, const char *name, int64_t bytes, store_state **out)
{
    context *ctx = s->device->ctx;
    char dims[128];
    *out = store_find(s, name);
    if (!*out) return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "the store has no state %s", name);
    int64_t wanted = shape_count((*out)->shape) * ingot_dtype_bytes((*out)->dtype);
    if (bytes != wanted)
        return ingot_fail(ctx, INGOT_ERROR_SHAPE, "state %s is %s%s, %lld bytes; got %lld", name,
                          ingot_dtype_name((*out)->dtype), shape_print(dims, (*out)->shape), (long long)wanted,
                          (long long)bytes);
    return store_allocate(s, *out);
}

ingot_status ingot_store_write(ingot_store *s, const char *name, const void *data, int64_t bytes)
{
    store_state *state;
    TRY(find_for_copy(s, name, bytes, &state));
    store_group *g = store_group_of(s, state);
    if (g) g->version++;
    return device_write_as(s->device, state->memory, state->offset, state->storage, data, state->dtype,
                           shape_count(state->shape));
}

ingot_status ingot_store_read(ingot_store *s, const char *name, void *data, int64_t bytes)
{
    store_state *state;
    TRY(find_for_copy(s, name, bytes, &state));
    return device_read_as(s->device, state->memory, state->offset, state->storage, data, state->dtype,
                          shape_count(state->shape));
}
