/* What goes into programs and comes out of them: inputs and outputs by name, in the dtypes of their callers. */
#include "engine/program.h"
#include "ops/source/source.h"

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
