/* A tokenizer from the very documents that are prepared with it. */
#include "data/corpus.h"
#include "ingot/data.h"

static status next_piece(void *user, const char **bytes, int64_t *count)
{
    ingot_corpus_piece piece;
    TRY(ingot_corpus_next(user, &piece));
    *bytes = piece.bytes;
    *count = piece.bytes ? piece.count : -1;
    return INGOT_OK;
}

ingot_status ingot_tokenizer_train_corpus(ingot_context *ctx, const ingot_tokenizer_training *options,
                                          const ingot_corpus_options *text, ingot_tokenizer **out)
{
    ingot_corpus *corpus;
    *out = NULL;
    TRY(ingot_corpus_open(ctx, text, &corpus));
    status s = ingot_tokenizer_train(ctx, options, next_piece, corpus, out);
    ingot_corpus_free(corpus);
    return s;
}
