/* A language model from nothing, in one page: text -> tokenizer -> tokens -> training -> text. The checkpoint in run/last is a
 * Hugging Face folder; `ingot generate --model run` reads it too.
 */
#include <ingot/data.h>
#include <ingot/generate.h>
#include <ingot/train.h>

#include <stdio.h>

#define TRY(call)                                                                                                      \
    if (call) return fprintf(stderr, "%s\n", ingot_message(ctx)), 1

int main(void)
{
    ingot_context *ctx;
    ingot_device *device;
    if (ingot_context_new(NULL, &ctx)) return 1;
    TRY(ingot_device_open(ctx, "auto", NULL, &device));

    const char *file = "stories.txt"; // or any text of yours
    ingot_tokenizer *words;
    TRY(ingot_stories_make(ctx, file, 1, 500000));
    TRY(ingot_tokenizer_train_corpus(ctx, &(ingot_tokenizer_training){.vocab_size = 1024},
                                     &(ingot_corpus_options){.inputs = &file, .input_count = 1}, &words));
    TRY(ingot_tokenizer_save(words, "tok.json"));
    ingot_prepare_options text = {.inputs = &file, .input_count = 1, .tokenizer = "tok.json", .output = "data"};
    text.val_fraction = 0.1, text.rows = "document", text.overwrite = 1;
    TRY(ingot_data_prepare(ctx, &text, NULL));

    ingot_model *model;
    ingot_model_options shape = {.family = "llama", .layers = 2, .heads = 4, .kv_heads = 2, .dim = 64, .context = 64};
    shape.vocab_size = ingot_tokenizer_vocab_size(words);
    TRY(ingot_model_new(ctx, &shape, &model));

    ingot_trainer *trainer;
    ingot_train_event e;
    ingot_train_options how = ingot_train_defaults();
    how.data = "data", how.output = "run", how.overwrite = 1, how.steps = 100, how.seed = 1;
    how.optimizer = ingot_optimizer_defaults(1e-2, how.steps);
    TRY(ingot_trainer_new(device, model, &how, &trainer));
    for (int i = 1; i <= how.steps; i++) { // or all at once, with evaluations and saves: ingot_trainer_run
        TRY(ingot_trainer_step(trainer, &e));
        if (i % 20 == 0) printf("step %d: loss %.3f, %.0f tokens/s\n", i, e.result.loss, (double)e.rows / e.seconds);
    }
    TRY(ingot_trainer_save(trainer));

    ingot_session *session;
    ingot_completions *all;
    ingot_session_options on = {.store = ingot_trainer_store(trainer), .tokenizer = words};
    TRY(ingot_session_new(model, device, &on, &session));
    TRY(ingot_generate(session, &(ingot_request){.prompt = "One day", .max_tokens = 40}, 1, NULL, NULL, &all));
    printf("One day%s\n", all->at[0].text);

    ingot_completions_free(all);
    ingot_session_free(session);
    ingot_trainer_free(trainer);
    ingot_model_free(model);
    ingot_tokenizer_free(words);
    ingot_device_close(device);
    ingot_context_free(ctx);
    return e.result.loss < 3 ? 0 : 1;
}
