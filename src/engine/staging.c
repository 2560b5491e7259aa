/* A program's inputs and outputs by way of staging: a batch is written while the runs before it go on, and a result is read
 * while those behind it do.
 */
#include "engine/program.h"

enum { MOST_STAGED = 64 };

static status open_stage(ingot_program *p, stage *s, int slots)
{
    bool inputs = s == &p->inputs;
    if (s->slots || !s->bytes || p->graph->inputs.count > MOST_STAGED) return INGOT_OK;
    TRY(device_staging(p->device)->open(p->device, &p->own, s->offset, s->bytes, inputs, slots, &s->staging));
    s->slots = slots;
    return INGOT_OK;
}

status program_stage(ingot_program *p, int slots)
{
    TRY(open_stage(p, &p->inputs, slots));
    return open_stage(p, &p->results, slots);
}

void program_unstage(ingot_program *p)
{
    stage *const both[] = {&p->inputs, &p->results};
    for (size_t i = 0; i < COUNT(both); i++) {
        if (both[i]->slots) device_staging(p->device)->close(p->device, both[i]->staging);
        *both[i] = (stage){.offset = both[i]->offset, .bytes = both[i]->bytes};
    }
}

static const buffer *buffer_of_input(const ingot_program *p, int64_t input)
{
    return &p->buffers.at[p->buffer_of[p->graph->inputs.at[input].value->id]];
}

status stage_write(ingot_program *p, int64_t input, dtype given, const void *data)
{
    stage *s = &p->inputs;
    const value *v = p->graph->inputs.at[input].value;
    void *host = s->host;
    if (!host) TRY(device_staging(p->device)->fill(p->device, s->staging, &host));
    s->host = host;
    s->written |= UINT64_C(1) << input;
    dtype_convert(v->dtype, s->host + buffer_of_input(p, input)->offset - s->offset, given, data,
                  shape_count(v->shape));
    return INGOT_OK;
}

bool stage_is_full(const ingot_program *p)
{
    int64_t inputs = p->graph->inputs.count;
    return p->inputs.host && p->inputs.written == (inputs == MOST_STAGED ? UINT64_MAX : (UINT64_C(1) << inputs) - 1);
}

/* All of them in one piece, else each by itself: the device keeps those that were not written. */
status stage_send(ingot_program *p)
{
    stage *s = &p->inputs;
    const staging_def *def = device_staging(p->device);
    if (!s->host) return INGOT_OK;
    bool full = stage_is_full(p);
    uint64_t written = s->written;
    s->host = NULL;
    s->written = 0;
    if (full) return def->send(p->device, s->staging, 0, s->bytes);
    for (int64_t i = 0; i < p->graph->inputs.count; i++) {
        const buffer *b = buffer_of_input(p, i);
        if (written >> i & 1) TRY(def->send(p->device, s->staging, b->offset - s->offset, b->bytes));
    }
    return INGOT_OK;
}

status program_fetch(ingot_program *p, int *slot)
{
    return device_staging(p->device)->fetch(p->device, p->results.staging, slot);
}

status program_run_staged(ingot_program *p, const void **host)
{
    int slot;
    if (!p->alone) TRY(chain_new(p, p, &p->alone));
    TRY(chain_run(p->alone, &slot));
    return device_staging(p->device)->wait(p->device, p->results.staging, slot, host);
}
