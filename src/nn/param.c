/* The list of a graph's parameters, and how each begins. */
#include "nn/nn.h"

#include "base/rng.h"
#include "base/threads.h"
#include "ingot/ops.h"

#include <math.h>
#include <xxhash.h>

param_list *param_list_new(context *ctx)
{
    param_list *list = calloc(1, sizeof *list);
    if (!list) return NULL;
    list->ctx = ctx;
    list->arena = arena_new();
    if (list->arena) return list;
    free(list);
    return NULL;
}

void param_list_free(param_list *list)
{
    if (!list) return;
    ARRAY_FREE(&list->params);
    arena_free(list->arena);
    free(list);
}

const param *param_find(const param_list *list, const char *name)
{
    for (int64_t i = 0; i < list->params.count; i++)
        if (!strcmp(list->params.at[i].name, name)) return &list->params.at[i];
    return NULL;
}

int64_t param_elements(const param *p)
{
    return shape_count(p->shape);
}

const char *param_group(const param *p)
{
    static const char *const groups[][3] = {{"frozen", "weight.no_decay", "weight.decay"},
                                            {"frozen.16", "weight.no_decay.16", "weight.decay.16"}};
    return groups[dtype_is_narrow(p->dtype)][!p->trainable ? 0 : p->decay ? 2 : 1];
}

static value *remember(build *b, param_list *list, const param *p, value *v)
{
    if (!list || !v || param_find(list, p->name)) return v;
    param kept = *p;
    kept.name = arena_strdup(list->arena, p->name);
    if (!kept.name || !ARRAY_PUSH(&list->params, kept))
        return build_fail(b, INGOT_ERROR_MEMORY, "not enough memory for the list of parameters");
    return v;
}

/* A matrix that nobody trains needs no float32 beside what it is computed with. */
static bool kept_narrow(const build *b, const param *p)
{
    return dtype_is_narrow(b->compute) && p->dtype == INGOT_F32 && p->shape.rank > 1 && !p->adapter &&
           (b->frozen || (p->product && !p->trainable));
}

value *nn_computed(build *b, value *v)
{
    return v && dtype_is_float(v->dtype) ? ingot_cast(b, v, b->compute) : v;
}

value *nn_param_with(build *b, param p)
{
    const char *local = p.name;
    p.name = b->status ? NULL : build_scoped(b, local);
    if (!p.name) return NULL;
    if (b->hooks && b->hooks->parameter) b->hooks->parameter(b->hooks, b, &p);
    if (kept_narrow(b, &p)) p.dtype = b->compute;
    value *v = ingot_state_in(b, local, p.dtype, p.shape, param_group(&p));
    return remember(b, b->hooks ? b->hooks->params : NULL, &p, v);
}

value *nn_param(build *b, const char *name, shape s, init how)
{
    return nn_param_with(
        b, (param){.name = name, .dtype = INGOT_F32, .shape = s, .init = how, .trainable = true, .decay = s.rank > 1});
}

/* ---- filling ---- */

typedef struct fill {
    init init;
    uint64_t seed, stream;
    int64_t columns; /* INIT_SINUSOID: C of (T, C) */
    int64_t count;
    float *out;
} fill;

/* Four draws of block `block`; the stream is the name's hash, so that no parameter's values depend on another. */
static void draw(const fill *f, int64_t block, float out[4])
{
    philox p = {.counter = {(uint32_t)block, (uint32_t)((uint64_t)block >> 32), (uint32_t)f->stream,
                            (uint32_t)(f->stream >> 32)},
                .key = {(uint32_t)f->seed, (uint32_t)(f->seed >> 32)}};
    uint32_t bits[4];
    philox_block(&p, bits);
    for (int i = 0; i < 4; i += 2) {
        double u = ((double)bits[i] + 0.5) * 0x1p-32, v = ((double)bits[i + 1] + 0.5) * 0x1p-32;
        if (f->init.kind == INIT_UNIFORM) {
            out[i] = (float)((2 * u - 1) * f->init.scale);
            out[i + 1] = (float)((2 * v - 1) * f->init.scale);
        } else { /* Box and Muller 1958 */
            double r = sqrt(-2 * log(u)) * f->init.scale, angle = 6.283185307179586 * v;
            out[i] = (float)(r * cos(angle));
            out[i + 1] = (float)(r * sin(angle));
        }
    }
}

static void fill_random(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const fill *f = arg;
    for (int64_t block = first; block < last; block++) {
        float four[4];
        draw(f, block, four);
        for (int64_t i = 0; i < 4 && block * 4 + i < f->count; i++) f->out[block * 4 + i] = four[i];
    }
}

/* sin(t / 10000^(2i/C)) at even columns 2i, cos at odd ones. Vaswani et al. 2017, section 3.5. */
static void fill_sinusoid(const fill *f)
{
    for (int64_t at = 0; at < f->count; at++) {
        int64_t t = at / f->columns, c = at % f->columns;
        double angle = (double)t * pow(10000.0, -(double)(c - c % 2) / (double)f->columns);
        f->out[at] = (float)(c % 2 ? cos(angle) : sin(angle));
    }
}

void param_fill(context *ctx, const param *p, uint64_t seed, float *out)
{
    fill f = {.init = p->init,
              .seed = seed,
              .stream = XXH64(p->name, strlen(p->name), 0),
              .columns = p->shape.rank ? p->shape.dim[p->shape.rank - 1] : 1,
              .count = param_elements(p),
              .out = out};
    switch (p->init.kind) {
    case INIT_ZEROS: memset(out, 0, (size_t)f.count * sizeof *out); break;
    case INIT_ONES:
        for (int64_t i = 0; i < f.count; i++) out[i] = 1;
        break;
    case INIT_SINUSOID: fill_sinusoid(&f); break;
    case INIT_NORMAL:
    case INIT_UNIFORM: pool_for(context_pool(ctx), (f.count + 3) / 4, 4096, fill_random, &f); break;
    }
}
