/* Compiling programs. */
#include "engine/program.h"
#include "ops/source/source.h"
#include "passes/passes.h"

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
