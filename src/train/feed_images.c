/* Pictures as a step's batches: drawn from the order by position, so there is nothing to fill ahead but the copy. */
#include "train/feed.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE * 3, INPUTS = 2 };

typedef struct image_feed {
    feed base;
    int micros, steps, now;         /* a ring of steps */
    int64_t batch, count, position; /* position: of the next step */
    ingot_images *images;
    ingot_image_order order;
    float *pixels;
    int32_t *labels;
    ingot_feed *inputs;
} image_feed;

/* The last batch of an evaluation may be part empty: what is not there has no target. */
static status fill(image_feed *f, float *pixels, int32_t *labels)
{
    int64_t left = f->order.shuffle ? f->batch : MAX(0, MIN(f->batch, f->count - f->position));
    TRY(ingot_images_batch(f->images, &f->order, f->position, left, pixels, labels));
    for (int64_t i = left; i < f->batch; i++) labels[i] = -1;
    f->position += left;
    f->base.targets += left;
    return INGOT_OK;
}

static status advance(feed *base)
{
    image_feed *f = (image_feed *)base;
    base->targets = 0;
    f->now = (f->now + 1) % f->steps;
    int first = f->now * f->micros;
    for (int i = first; i < first + f->micros; i++)
        TRY(fill(f, f->pixels + i * f->batch * PIXELS, f->labels + i * f->batch));
    base->inputs = f->inputs + INPUTS * first;
    base->next.row = (uint64_t)f->position;
    return INGOT_OK;
}

static status seek(feed *base, ingot_batch_state state)
{
    image_feed *f = (image_feed *)base;
    if (state.row > INT64_MAX / 2 || (!f->order.shuffle && state.row > (uint64_t)f->count))
        return ingot_fail(base->ctx, INGOT_ERROR_FORMAT, "there is no picture %llu", (unsigned long long)state.row);
    f->position = (int64_t)state.row;
    base->next = state;
    return INGOT_OK;
}

static void close_images(feed *base)
{
    image_feed *f = (image_feed *)base;
    ingot_images_free(f->images);
    free(f->pixels);
    free(f->labels);
    free(f->inputs);
    free(f);
}

static status make_buffers(image_feed *f)
{
    int batches = f->steps * f->micros;
    size_t rows = (size_t)batches * (size_t)f->batch;
    f->pixels = calloc(rows * PIXELS, sizeof(float));
    f->labels = calloc(rows, sizeof(int32_t));
    f->inputs = calloc((size_t)batches * INPUTS, sizeof(ingot_feed));
    if (!f->pixels || !f->labels || !f->inputs)
        return fail_memory(f->base.ctx, "pictures", rows * PIXELS * sizeof(float));
    for (int i = 0; i < batches; i++) {
        f->inputs[INPUTS * i] =
            (ingot_feed){"images", f->pixels + i * f->batch * PIXELS, f->batch * PIXELS * (int64_t)sizeof(float)};
        f->inputs[INPUTS * i + 1] =
            (ingot_feed){"targets", f->labels + i * f->batch, f->batch * (int64_t)sizeof(int32_t)};
    }
    return INGOT_OK;
}

static status open_images(image_feed *f, const ingot_model_info *m, const feed_options *o)
{
    if (m->image != SIDE)
        return ingot_fail(f->base.ctx, INGOT_ERROR_ARGUMENT,
                          "the model takes pictures of %lld x %lld, %s holds %d x %d", (long long)m->image,
                          (long long)m->image, o->data, SIDE, SIDE);
    if (m->classes < 10)
        return ingot_fail(f->base.ctx, INGOT_ERROR_ARGUMENT, "the model knows %lld classes, %s holds 10",
                          (long long)m->classes, o->data);
    TRY(ingot_images_open(f->base.ctx, o->data, o->split, &f->images));
    f->count = ingot_images_count(f->images);
    f->base.positions = f->micros * f->batch;
    f->base.count = INPUTS;
    f->base.info = (ingot_split_info){.documents = f->count};
    return make_buffers(f);
}

status feed_open_images(const ingot_model_info *m, context *ctx, const feed_options *o, feed **out)
{
    image_feed *f = calloc(1, sizeof *f);
    if (!f) return fail_memory(ctx, "pictures", sizeof *f);
    *f = (image_feed){.base = {.ctx = ctx, .unit = "img", .advance = advance, .seek = seek, .close = close_images},
                      .micros = o->micros,
                      .steps = 1 + o->ahead,
                      .batch = o->batch,
                      .order = {.shuffle = o->shuffle, .seed = o->seed}};
    status s = open_images(f, m, o);
    if (s) {
        close_images(&f->base);
        return s;
    }
    *out = &f->base;
    return INGOT_OK;
}
