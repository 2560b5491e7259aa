/* A training step: `micro` adds the gradients of one batch's loss sum, `update` turns them into new weights.
 *
 *     first   gradients and sums are overwritten         inputs of the batch -> "grad.*", "train.sums"
 *     more    the same, added: the second micro-batch on
 *     update  optimizer.c                                "grad.*", "train.sums" -> weights, moments, "train.rng"
 *
 * All share one store. The states between them:
 *     train.rng   (4) int32: seed low, seed high, steps applied, micro-batches done of this step
 *     train.sums  (3): loss, count, metric of the micro-batches so far
 *     train.scale (2): with loss scaling, the scale and good steps since it changed
 */
#include "train/step.h"
#include "ingot/ops.h"
#include "ops/source/source.h"
#include "ops/table.h"

#include <math.h>
#include <stdio.h>

enum { SUM_LOSS, SUM_COUNT, SUM_METRIC, SUMS };

static bool is_trained(const store_state *state, int *group)
{
    for (*group = 0; *group < GROUP_COUNT; ++*group)
        if (!strncmp(state->group, "weight", 6) && !strcmp(state->group + 6, group_suffix[*group])) return true;
    return false;
}

static const char *kind_name(arena *a, const char *kind, const char *name)
{
    return arena_printf(a, "%s.%s", kind, name);
}

/* Declares the graph's states, then for every trained one its gradient and moments, in the order of the weights. */
static status declare_states(ingot_stepper *s, const build *b)
{
    store_state *state;
    for (int64_t i = 0; i < b->states.count; i++) {
        const source_attrs *source = b->states.at[i].value->node->attrs;
        TRY(store_declare(s->store, source->name, source->dtype, source->shape, source->group, &state));
    }
    const char *kinds[3] = {"grad"};
    int kind_count = 1 + optimizer_moments(&s->optimizer, kinds + 1), group;
    int64_t states = s->store->states.count;
    s->trained.at = ARENA_ARRAY(s->arena, trained, states + 1);
    if (!s->trained.at) return fail_memory(s->ctx, "the list of parameters", (uint64_t)states);
    for (int64_t i = 0; i < states; i++) {
        const store_state *weight = s->store->states.at[i];
        if (weight->joined || !is_trained(weight, &group)) continue;
        s->trained.at[s->trained.count++] = (trained){weight->name, weight->shape, group == GROUP_DECAY};
        for (int kind = 0; kind < kind_count; kind++) {
            char lies_in[64];
            snprintf(lies_in, sizeof lies_in, "%s%s", kinds[kind], group_suffix[group]);
            const char *name = kind_name(s->arena, kinds[kind], weight->name);
            if (!name) return fail_memory(s->ctx, "the list of parameters", 64);
            TRY(store_declare(s->store, name, INGOT_F32, weight->shape, lies_in, &state));
        }
    }
    if (!s->trained.count)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT,
                          "nothing is to be trained: no state of the loss is in group weight.decay or weight.no_decay");
    return INGOT_OK;
}

/* What is trained is copied to 16 bits by chance from here on; what is frozen to nearest. */
static status round_by_chance(ingot_stepper *s)
{
    if (s->device->def->promotes_to_f64)
        return ingot_fail(s->ctx, INGOT_ERROR_UNSUPPORTED,
                          "stochastic rounding: device %s keeps every number in float64 and rounds none",
                          ingot_device_name(s->device));
    if (!device_has_kernels_for(s->device, &op_stochastic_round_def))
        return ingot_fail(s->ctx, INGOT_ERROR_UNSUPPORTED,
                          "stochastic rounding: device %s has no kernel for it yet; leave it out, or train on the cpu",
                          ingot_device_name(s->device));
    for (int i = 0; i < GROUP_COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "weight%s", group_suffix[i]);
        store_group *g = store_find_group(s->store, name);
        if (g) g->rng = "train.rng";
    }
    return INGOT_OK;
}

static value *one(build *b, value *x)
{
    return ingot_reshape(b, x, INGOT_SHAPE(1));
}

/* loss, count, metric as one vector */
static value *sums_of(build *b, const ingot_loss *loss)
{
    value *metric = loss->metric ? loss->metric : ingot_constant(b, 0, INGOT_F32, INGOT_SCALAR);
    value *const parts[SUMS] = {one(b, loss->sum), one(b, loss->count), one(b, metric)};
    return ingot_concat(b, parts, SUMS, 0);
}

static void keep(build *b, value *state, value *v, bool add)
{
    ingot_state_update(b, state, add ? ingot_add(b, state, v) : v);
}

static void build_gradients(ingot_stepper *s, build *b, const ingot_loss *loss, bool add)
{
    int count = (int)s->trained.count;
    value **weights = ARENA_ARRAY(b->arena, value *, count), **gradients = ARENA_ARRAY(b->arena, value *, count);
    for (int i = 0; weights && gradients && i < count; i++) {
        const trained *t = &s->trained.at[i];
        weights[i] = ingot_state_in(b, t->name, INGOT_F32, t->shape, t->decay ? "weight.decay" : "weight.no_decay");
    }
    if (!weights || !gradients) {
        build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the graph");
        return;
    }
    value *sum = s->task.loss_scaling ? ingot_mul(b, loss->sum, loss_scale(b)) : loss->sum;
    ingot_gradients(b, sum, weights, count, gradients);
    for (int i = 0; i < count; i++) {
        const trained *t = &s->trained.at[i];
        const char *name = kind_name(b->arena, "grad", t->name);
        if (!name || b->status) return;
        keep(b, ingot_state_in(b, name, INGOT_F32, t->shape, t->decay ? "grad.decay" : "grad.no_decay"), gradients[i],
             add);
    }
}

static status compile(ingot_stepper *s, build *b, ingot_program **out)
{
    return ingot_compile(b, s->device, &(ingot_compile_options){.store = s->store, .recompute = s->task.recompute},
                         out);
}

static status compile_micro(ingot_stepper *s, bool add, ingot_program **out)
{
    build *b = ingot_build_new(s->ctx, add ? "micro.more" : "micro");
    if (!b) return fail_memory(s->ctx, "the graph", 0);
    value *rng = ingot_state(b, "train.rng", INGOT_I32, INGOT_SHAPE(4));
    value *sums = ingot_state(b, "train.sums", INGOT_F32, INGOT_SHAPE(SUMS));
    ingot_loss loss = s->task.loss(s->task.user, b, rng);
    status failed = ingot_build_status(b);
    if (!failed && (!loss.sum || !loss.count))
        failed = ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "the task gave no loss or no count");
    if (!failed && !s->trained.count) failed = declare_states(s, b);
    if (!failed && s->task.stochastic_rounding) failed = round_by_chance(s);
    if (!failed) failed = join_products(s->store, b);
    if (failed && !ingot_build_status(b)) {
        ingot_build_free(b);
        return failed;
    }
    if (!failed) {
        build_gradients(s, b, &loss, add);
        keep(b, sums, sums_of(b, &loss), add);
        value *const counter[] = {ingot_slice(b, rng, 0, 0, 3), ingot_add_scalar(b, ingot_slice(b, rng, 0, 3, 1), 1)};
        ingot_state_update(b, rng, ingot_concat(b, counter, (int)COUNT(counter), 0));
    }
    return compile(s, b, out); /* with the builder's own error, when there is one */
}

static status compile_update(ingot_stepper *s)
{
    build *b = ingot_build_new(s->ctx, "update");
    if (!b) return fail_memory(s->ctx, "the graph", 0);
    optimizer_build(b, s->store, &s->optimizer, s->task.loss_scaling);
    return compile(s, b, &s->update);
}

static status compile_evaluate(ingot_stepper *s)
{
    build *b = ingot_build_new(s->ctx, "evaluate");
    if (!b) return fail_memory(s->ctx, "the graph", 0);
    ingot_loss loss = s->task.loss(s->task.user, b, NULL);
    if (loss.sum && loss.count) ingot_output(b, "sums", sums_of(b, &loss));
    return compile(s, b, &s->evaluate);
}

status stepper_prepare(ingot_stepper *s, bool accumulate, bool evaluate)
{
    if (accumulate && !s->more) TRY(compile_micro(s, true, &s->more));
    if (evaluate && !s->evaluate) TRY(compile_evaluate(s));
    return INGOT_OK;
}

static status stepper_new(ingot_device *d, ingot_store *store, bool plan_only, const ingot_task *task,
                          const ingot_optimizer *o, ingot_stepper **out)
{
    *out = NULL;
    TRY(optimizer_check(d->ctx, o));
    ingot_stepper *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(d->ctx, "a stepper", sizeof *s);
    *s = (ingot_stepper){.ctx = d->ctx, .device = d, .store = store, .task = *task, .optimizer = *o};
    status failed = (s->arena = arena_new()) ? INGOT_OK : fail_memory(d->ctx, "a stepper", 0);
    if (!failed && !store) {
        failed = ingot_store_new(d, &s->store);
        s->owns_store = true;
        if (!failed) s->store->plan_only = plan_only;
    }
    if (!failed) failed = compile_micro(s, false, &s->first);
    if (!failed) failed = compile_update(s);
    const float scale[2] = {LOSS_SCALE_FIRST, 0};
    if (!failed && !plan_only) failed = ingot_stepper_seek(s, 0, 0);
    if (!failed && !plan_only && task->loss_scaling)
        failed = ingot_store_write(s->store, LOSS_SCALE_STATE, scale, sizeof scale);
    if (failed) {
        ingot_stepper_free(s);
        return failed;
    }
    *out = s;
    return INGOT_OK;
}

ingot_status ingot_stepper_new(ingot_device *d, ingot_store *store, const ingot_task *task, const ingot_optimizer *o,
                               ingot_stepper **out)
{
    return stepper_new(d, store, false, task, o, out);
}

status stepper_plan(ingot_device *d, const ingot_task *task, const ingot_optimizer *o, ingot_stepper **out)
{
    return stepper_new(d, NULL, true, task, o, out);
}

status stepper_check_memory(const ingot_device *d, const ingot_train_memory *m, const char *advice)
{
    uint64_t have = device_memory_left(d);
    if ((uint64_t)m->peak_bytes <= have) return INGOT_OK;
    char needs[24], has[24];
    return ingot_fail(d->ctx, INGOT_ERROR_MEMORY, "training needs %s, the device (%s) has %s left: use %s",
                      format_bytes(needs, (uint64_t)m->peak_bytes), ingot_device_name(d), format_bytes(has, have),
                      advice);
}

status stepper_evaluator(ingot_device *d, const ingot_task *task, ingot_stepper **out)
{
    *out = NULL;
    ingot_stepper *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(d->ctx, "an evaluator", sizeof *s);
    *s = (ingot_stepper){.ctx = d->ctx, .device = d, .task = *task, .owns_store = true};
    status failed = ingot_store_new(d, &s->store);
    if (!failed) failed = compile_evaluate(s);
    if (failed) {
        ingot_stepper_free(s);
        return failed;
    }
    *out = s;
    return INGOT_OK;
}

void ingot_stepper_free(ingot_stepper *s)
{
    if (!s) return;
    chain_free(s->whole);
    ingot_program_free(s->first);
    ingot_program_free(s->more);
    ingot_program_free(s->update);
    ingot_program_free(s->evaluate);
    if (s->owns_store) ingot_store_free(s->store);
    arena_free(s->arena);
    free(s);
}

ingot_store *ingot_stepper_store(ingot_stepper *s)
{
    return s->store;
}

ingot_status ingot_stepper_seek(ingot_stepper *s, uint64_t seed, int64_t step)
{
    if (step < 0 || step >= 1 << 24)
        return ingot_fail(s->ctx, INGOT_ERROR_ARGUMENT, "step %lld is out of range", (long long)step);
    uint32_t rng[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)step, 0};
    return ingot_store_write(s->store, "train.rng", rng, sizeof rng);
}

static status write_feeds(ingot_program *p, const ingot_feed *feeds, int count)
{
    for (int i = 0; i < count; i++) TRY(ingot_write(p, feeds[i].name, feeds[i].data, feeds[i].bytes));
    return INGOT_OK;
}

status stepper_run(ingot_stepper *s, const ingot_feed *batches, int feeds, int micros, int *slot)
{
    const step *bad;
    bool checked = !slot;
    if (micros == 1 && !checked) {
        if (!s->whole) TRY(chain_new(s->first, s->update, &s->whole));
        TRY(write_feeds(s->first, batches, feeds));
        return chain_run(s->whole, slot);
    }
    for (int i = 0; i < micros; i++) {
        ingot_program *p = i ? s->more : s->first;
        TRY(write_feeds(p, batches + (int64_t)i * feeds, feeds));
        TRY(checked ? program_run_checked(p, NULL, &bad) : ingot_run(p, NULL));
    }
    if (checked) return program_run_checked(s->update, NULL, &bad);
    TRY(ingot_run(s->update, NULL));
    return s->update->results.slots ? program_fetch(s->update, slot) : INGOT_OK;
}

/* Neither micro-batches of a step that never was, nor a halt. */
status stepper_begin_again(ingot_stepper *s)
{
    int32_t rng[4];
    TRY(ingot_store_read(s->store, "train.rng", rng, sizeof rng));
    rng[3] = 0;
    return ingot_store_write(s->store, "train.rng", rng, sizeof rng);
}

ingot_status ingot_stepper_evaluate(ingot_stepper *s, const ingot_feed *batch, int feeds, ingot_step_result *out)
{
    float sums[SUMS];
    TRY(stepper_prepare(s, false, true));
    TRY(write_feeds(s->evaluate, batch, feeds));
    TRY(ingot_run(s->evaluate, NULL));
    TRY(ingot_read(s->evaluate, "sums", sums, sizeof sums));
    *out = (ingot_step_result){.loss = (double)sums[SUM_LOSS] / sums[SUM_COUNT],
                               .count = sums[SUM_COUNT],
                               .metric = (double)sums[SUM_METRIC] / sums[SUM_COUNT]};
    return INGOT_OK;
}

/* The largest workspace of one kernel. */
static int64_t scratch_bytes(const ingot_program *p)
{
    int64_t most = 0;
    for (int64_t i = 0; i < p->buffers.count; i++) {
        const buffer *b = &p->buffers.at[i];
        if (b->kind == BUFFER_ARENA && !b->value) most = MAX(most, b->bytes);
    }
    return most;
}

/* Staging of inputs and results, on a device that has memory of its own for it. */
static int64_t stage_bytes(const ingot_program *p, int slots)
{
    return p->device->def->staging ? slots * p->inputs.bytes : 0;
}

ingot_train_memory ingot_stepper_describe(const ingot_stepper *s)
{
    ingot_train_memory m = {0};
    for (int64_t i = 0; i < s->trained.count; i++) m.parameters += shape_count(s->trained.at[i].shape);
    for (int64_t i = 0; i < s->store->groups.count; i++) {
        const store_group *g = s->store->groups.at[i];
        int64_t bytes = g->count * ingot_dtype_bytes(g->storage);
        if (!strncmp(g->name, "grad.", 5))
            m.gradient_bytes += bytes;
        else if (!strncmp(g->name, "adam.", 5) || !strncmp(g->name, "sgd.", 4))
            m.optimizer_bytes += bytes;
    }
    m.weight_bytes = store_state_bytes(s->store) - m.gradient_bytes - m.optimizer_bytes;
    int64_t lower = 0, own = 0;
    ingot_program *const programs[] = {s->first, s->more, s->update, s->evaluate};
    for (size_t i = 0; i < COUNT(programs); i++) {
        if (!programs[i]) continue;
        ingot_program_info info = ingot_program_describe(programs[i]);
        m.arena_bytes = MAX(m.arena_bytes, info.arena_bytes);
        m.workspace_bytes = MAX(m.workspace_bytes, scratch_bytes(programs[i]));
        own += info.own_bytes + (s->ahead ? stage_bytes(programs[i], s->ahead + 2) : 0);
        lower = MAX(lower, info.lower_bound_bytes);
        if (i == 0) m.flops_per_micro = info.flops;
        if (programs[i] == s->update) m.flops_per_update = info.flops;
    }
    int64_t states = m.weight_bytes + m.gradient_bytes + m.optimizer_bytes;
    m.workspace_bytes = MIN(m.workspace_bytes, m.arena_bytes);
    m.activation_bytes = m.arena_bytes - m.workspace_bytes;
    m.workspace_bytes += own;
    m.peak_bytes = states + m.arena_bytes + own;
    m.lower_bound_bytes = states + lower + own;
    return m;
}
