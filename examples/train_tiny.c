/* A language model from nothing, in one page: stories -> tokenizer -> tokens -> training -> text. With a text of your own:
 * put its path in place of "stories.txt". Everything lies in this folder afterwards; `ingot generate --model run` reads it.
 */
#include <ingot/data.h>
#include <ingot/generate.h>
#include <ingot/train.h>

#include <stdio.h>

#define TRY(call)                                                                                                      \
    if (call) return fprintf(stderr, "%s\n", ingot_message(ctx)), 1

static ingot_status next_story(void *user, const char **bytes, int64_t *count)
{
    static char story[INGOT_STORY_BYTES];
    uint64_t *index = user;
    *bytes = story;
    *count = *index < 3000 ? ingot_story(1, (*index)++, story, NULL) : -1;
    return INGOT_OK;
}

static ingot_status show(void *user, const ingot_train_event *e)
{
    (void)user;
    if (e->kind == INGOT_TRAIN_STEP && e->result.step % 20 == 0)
        printf("step %d: loss %.3f, %.0f tokens/s\n", (int)e->result.step, e->result.loss,
               (double)e->rows / e->seconds);
    return INGOT_OK;
}

int main(void)
{
    ingot_context *ctx;
    ingot_device *device;
    ingot_tokenizer *tokenizer;
    ingot_model *model;
    ingot_trainer *trainer;
    if (ingot_context_new(NULL, &ctx)) return 1;
    TRY(ingot_device_open(ctx, "auto", NULL, &device));

    const char *text = "stories.txt", *story; // text: documents between lines of <|endoftext|>
    uint64_t index = 0;
    int64_t bytes;
    FILE *f = fopen(text, "w");
    while (f && !next_story(&index, &story, &bytes) && bytes >= 0) fprintf(f, "%s\n<|endoftext|>\n", story);
    if (!f || fclose(f)) return perror(text), 1;

    index = 0;
    TRY(ingot_tokenizer_train(ctx, &(ingot_tokenizer_training){.vocab_size = 1024}, next_story, &index, &tokenizer));
    TRY(ingot_tokenizer_save(tokenizer, "tok.json"));
    const ingot_prepare_options prepare = {.inputs = &text,
                                           .input_count = 1,
                                           .tokenizer = "tok.json",
                                           .output = "data",
                                           .val_fraction = 0.1,
                                           .rows = "document",
                                           .overwrite = 1};
    TRY(ingot_data_prepare(ctx, &prepare, NULL));

    const int32_t eot = ingot_tokenizer_eot(tokenizer);
    const ingot_model_options shape = {.family = "llama",
                                       .vocab_size = ingot_tokenizer_vocab_size(tokenizer),
                                       .layers = 2,
                                       .heads = 4,
                                       .kv_heads = 2,
                                       .dim = 64,
                                       .context = 64,
                                       .eos_tokens = &eot,
                                       .eos_count = 1};
    TRY(ingot_model_new(ctx, &shape, &model));
    ingot_train_options how = ingot_train_defaults();
    how.data = "data", how.output = "run", how.overwrite = 1;
    how.steps = 100, how.seed = 1, how.event = show;
    how.optimizer = ingot_optimizer_defaults(1e-2, how.steps);
    TRY(ingot_trainer_new(device, model, &how, &trainer));
    TRY(ingot_trainer_run(trainer));

    ingot_session *session;
    ingot_completions *all;
    ingot_session_options on = {.store = ingot_trainer_store(trainer), .tokenizer = tokenizer};
    TRY(ingot_session_new(model, device, &on, &session));
    TRY(ingot_generate(session, &(ingot_request){.prompt = "One day", .max_tokens = 40}, 1, NULL, NULL, &all));
    printf("One day%s\n", all->at[0].text);

    ingot_completions_free(all);
    ingot_session_free(session);
    ingot_trainer_free(trainer);
    ingot_model_free(model);
    ingot_tokenizer_free(tokenizer);
    ingot_device_close(device);
    ingot_context_free(ctx);
    return 0;
}
