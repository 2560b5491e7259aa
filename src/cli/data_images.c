/* ingot data images: labelled pictures of shapes for the family convnet. */
#include "cli/data.h"
#include "ingot/data.h"

typedef struct images_options {
    int64_t seed, count, val;
    const char *output;
} images_options;

static status images_run(call *c, void *given)
{
    images_options *o = given;
    if (!option_given(c, "val")) o->val = MAX(1, o->count / 10);
    TRY(ingot_images_make(c->ctx, o->output, (uint64_t)o->seed, o->count, o->val));
    TRY(write_run_yaml(c, arena_printf(c->arena, "%s/run.yaml", o->output)));
    if (c->json)
        return print_json(c, json_pack("{s:s, s:I, s:I}", "output", o->output, "train", (json_int_t)o->count, "val",
                                       (json_int_t)o->val));
    print_line(c, "%s: %lld pictures to train on, %lld to validate, of 10 shapes", o->output, (long long)o->count,
               (long long)o->val);
    return INGOT_OK;
}

static const option images_table[] = {
    {"output", STRING_AT(images_options, output), "DIR", "folder to make", .short_name = "o", .required = true},
    {"seed", INT_AT(images_options, seed), "N", "of the pictures", .initial = "1", .range = AT_LEAST(0)},
    {"count", SIZE_AT(images_options, count), "N", "pictures to train on", .initial = "10k",
     .range = BETWEEN(1, 2147483647.)},
    {"val", SIZE_AT(images_options, val), "N", "pictures to validate", .initial_help = "a tenth of --count",
     .range = BETWEEN(1, 2147483647.)},
};

const verb data_images_verb = {
    .name = "images",
    .summary = "draw labelled pictures of ten shapes",
    .description =
        "3 x 32 x 32, in CIFAR-10's binary format under CIFAR-10's file names: data_batch_1.bin and so on to train "
        "on, test_batch.bin to validate. Colours, places, sizes and noise differ.",
    .options = {{NULL, OPTIONS(images_table), 0}},
    .options_bytes = sizeof(images_options),
    .run = images_run,
    .examples = "ingot data images --seed 1 --count 10000 --output shapes\n"};
