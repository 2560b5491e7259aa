/* The floor of prepared stories: each document of a split decoded and read by the grammar. */
#include "data/data.h"

/* A longer document is no story; its tokens need not be decoded. */
enum { MOST_TOKENS = 1 << 16 };

static status check_document(const ingot_data *data, const ingot_tokenizer *t, int64_t first, int64_t end, int32_t *ids,
                             ingot_story_check *out)
{
    out->documents++;
    if (end - first > MOST_TOKENS) return INGOT_OK;
    TRY(ingot_data_read(data, first, end - first, ids));
    int64_t eot = ids[0] == data->eot, bytes;
    char *story;
    TRY(ingot_decode(t, ids + eot, end - first - eot, &story, &bytes));
    double bits;
    if (ingot_story_accepts(story, bytes, &bits)) {
        out->accepted++;
        out->bytes += bytes;
        out->bits += bits;
    }
    free(story);
    return INGOT_OK;
}

ingot_status ingot_data_check_stories(const ingot_data *data, const ingot_tokenizer *t, ingot_story_check *out)
{
    *out = (ingot_story_check){0};
    int64_t *starts, documents;
    TRY(data_documents(data, &starts, &documents));
    int32_t *ids = malloc(sizeof *ids * MOST_TOKENS);
    status s = ids ? INGOT_OK : fail_memory(data->ctx, "a story", MOST_TOKENS * sizeof *ids);
    for (int64_t d = 0; d < documents && !s; d++) s = check_document(data, t, starts[d], starts[d + 1], ids, out);
    free(ids);
    free(starts);
    return s;
}
