/* What a step eats: batches of a model's data as inputs of its programs, with the place in the data behind them. The inputs
 * of a step stay as they are until `ahead` more have been asked for. */
#ifndef TRAIN_FEED_H
#define TRAIN_FEED_H

#include "ingot/data.h"
#include "ingot/model.h"
#include "ingot/train.h"
#include "train/step.h"

typedef struct feed_options {
    const char *data, *split, *rows; /* rows NULL: as the data was prepared */
    bool raw_u16;
    int64_t batch, length; /* length 0: the model's context */
    int micros;            /* batches a step */
    int ahead;             /* steps whose batches stay as they are beside those of the current one */
    bool shuffle;          /* training: without end. Otherwise in order, once */
    uint64_t seed;
    bool count_bytes; /* wants text_bytes; needs the tokenizer */
    bool quiet;       /* what there is to warn of was said for another split */
} feed_options;

typedef struct feed feed;
struct feed {
    context *ctx;
    int64_t length;           /* T, resolved */
    bool segments;            /* rows are packed documents */
    const ingot_feed *inputs; /* of the current step: micros * count */
    int count;
    int64_t targets, text_bytes; /* of the current step; targets 0: the end */
    int64_t positions;           /* of a step: micros * B * T, or pictures */
    const char *unit;            /* "tok", "img" */
    ingot_batch_state next;      /* where the step after the current one begins */
    ingot_split_info info;
    uint64_t tokenizer_checksum;
    status (*advance)(feed *f);
    status (*seek)(feed *f, ingot_batch_state state);
    void (*close)(feed *f);
};

/* Checks that data and model fit: vocabulary, tokenizer, length. */
status feed_open(const ingot_model *model, context *ctx, const feed_options *o, feed **out);
status feed_open_images(const ingot_model_info *m, context *ctx, const feed_options *o, feed **out); /* convnet */
void feed_close(feed *f);                                                                            /* NULL is fine */

/* The loss of a model as a task; lives as long as the stepper. */
typedef struct model_task {
    const ingot_model *model;
    int64_t batch, length;
    bool segments;
    double dropout;
    bool frozen; /* only evaluated */
    bool stochastic_rounding;
} model_task;
ingot_loss model_task_loss(void *user, ingot_build *b, ingot_value *rng);
ingot_task model_task_of(model_task *t, bool recompute); /* with loss scaling where the model computes in float16 */

#endif
