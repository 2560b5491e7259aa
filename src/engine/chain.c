/* Two programs as one, or one by itself: their steps in a row are compiled together, so that a device takes them in one
 * submission. Where the device has steps that bring the inputs and take the results away, these are the first and the last.
 */
#include "engine/program.h"
#include "graph/spans.h"

struct chain {
    ingot_program *first, *last; /* the same: one by itself */
    work both;
    staging_pair staged; /* of `both`, where it has steps for it */
    bool moves;
    void *compiled;
    int64_t bindings; /* of both programs when it was compiled */
};

status chain_new(ingot_program *first, ingot_program *last, chain **out)
{
    chain *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c) return fail_memory(first->device->ctx, "a program", sizeof *c);
    *c = (chain){.first = first, .last = last, .both = {.name = "step"}};
    if (first == last) c->both.name = first->graph->name;
    c->both.steps = calloc((size_t)(first->main.count + last->main.count) + 2, sizeof *c->both.steps);
    if (!c->both.steps) {
        chain_free(c);
        return fail_memory(first->device->ctx, "a program", sizeof(step));
    }
    *out = c;
    return INGOT_OK;
}

static void drop(chain *c)
{
    device *d = c->first->device;
    if (c->compiled) d->def->drop(d, c->compiled);
    c->compiled = NULL;
}

void chain_free(chain *c)
{
    if (!c) return;
    drop(c);
    free(c->both.steps);
    free(c);
}

/* A program's inputs or results as one tensor. */
static tensor whole(const ingot_program *p, const stage *s)
{
    return (tensor){.memory = &p->own,
                    .byte_offset = s->offset,
                    .data = p->own.address ? (char *)p->own.address + s->offset : NULL,
                    .dtype = INGOT_I32,
                    .shape = INGOT_SHAPE(s->bytes / 4),
                    .stride = {1}};
}

static void add_steps(chain *c, const work *w)
{
    memcpy(c->both.steps + c->both.count, w->steps, (size_t)w->count * sizeof(step));
    c->both.count += w->count;
}

/* Whether a step of w writes into the memory of t. */
static bool is_written(const work *w, const tensor *t)
{
    for (int64_t i = 0; i < w->count; i++)
        for (int o = 0; o < NODE_MAX_OUTPUTS; o++)
            if (w->steps[i].out[o].data && spans_meet(span_of(&w->steps[i].out[o]), span_of(t))) return true;
    return false;
}

/* The first program may change what the last one, from `s` on, only reads. */
static void keep_resting(const chain *c, step *s)
{
    for (int64_t k = 0; k < c->last->main.count; k++)
        for (int i = 0; i < s[k].inputs && i < 32; i++)
            if (s[k].resting >> i & 1 && is_written(&c->first->main, &s[k].in[i])) s[k].resting &= ~(1u << i);
}

/* Steps know their memory: they are taken over again when it has moved, or staging was opened. */
static status make_ready(chain *c)
{
    device *d = c->first->device;
    const staging_def *def = device_staging(d);
    bool moves = def->arrive && c->first->inputs.slots && c->first->inputs.slots == c->last->results.slots;
    int64_t bindings = c->first->bindings + c->last->bindings;
    if (c->bindings == bindings && c->moves == moves) return INGOT_OK;
    drop(c);
    c->moves = moves;
    c->staged = (staging_pair){c->first->inputs.staging, c->last->results.staging};
    c->both.count = 0;
    if (moves)
        c->both.steps[c->both.count++] =
            (step){.kernel = def->arrive, .out = {whole(c->first, &c->first->inputs)}, .prepared = c->staged.inputs};
    add_steps(c, &c->first->main);
    if (c->last != c->first) add_steps(c, &c->last->main);
    if (c->last != c->first) keep_resting(c, &c->both.steps[c->both.count - c->last->main.count]);
    if (moves) {
        step *last = &c->both.steps[c->both.count++];
        *last = (step){.kernel = def->leave, .inputs = 1, .prepared = &c->staged};
        last->in = ARENA_ARRAY(c->last->graph->arena, tensor, 1);
        if (!last->in) return fail_memory(d->ctx, "a program", sizeof(tensor));
        *last->in = whole(c->last, &c->last->results);
    }
    TRY(d->def->compile(d, &c->both, &c->compiled));
    c->bindings = bindings;
    return INGOT_OK;
}

/* A copy that the second one derives from what the first one changes would be made too early. */
static bool can_be_one(const chain *c)
{
    return !program_is_watched(c->first) && !program_is_watched(c->last) &&
           (c->last == c->first || !c->last->derived.count);
}

static status run_apart(chain *c, int *slot)
{
    TRY(ingot_run(c->first, NULL));
    if (c->last != c->first) TRY(ingot_run(c->last, NULL));
    return c->last->results.slots ? program_fetch(c->last, slot) : INGOT_OK;
}

status chain_run(chain *c, int *slot)
{
    device *d = c->first->device;
    const staging_def *def = device_staging(d);
    *slot = -1;
    if (!can_be_one(c)) return run_apart(c, slot);
    TRY(make_ready(c));
    bool moves = c->moves;
    if (moves && !stage_is_full(c->first)) return run_apart(c, slot);
    if (moves) {
        c->first->inputs.host = NULL; /* it is sent by `before` */
        c->first->inputs.written = 0;
    }
    TRY(program_begin_run(c->first, NULL));
    if (c->last != c->first) TRY(program_begin_run(c->last, NULL));
    if (moves) TRY(def->before(d, &c->staged, slot));
    TRY(d->def->run(d, &c->both, c->compiled));
    if (moves) TRY(def->after(d, &c->staged));
    program_end_run(c->first);
    if (c->last != c->first) program_end_run(c->last);
    return moves || !c->last->results.slots ? INGOT_OK : program_fetch(c->last, slot);
}
