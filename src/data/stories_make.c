/* Stories as a text file. */
#include "base/file.h"
#include "data/corpus.h"
#include "ingot/data.h"

ingot_status ingot_stories_make(ingot_context *ctx, const char *path, uint64_t seed, int64_t bytes)
{
    static const char separator[] = "\n" CORPUS_EOT_LINE "\n";
    file_writer *w;
    TRY(file_create(ctx, path, &w));
    status s = INGOT_OK;
    int64_t written = 0;
    for (uint64_t i = 0; !s && written < bytes; i++) {
        char story[INGOT_STORY_BYTES + sizeof separator];
        int64_t length = ingot_story(seed, i, story, NULL) + (int64_t)sizeof separator - 1;
        memcpy(story + length - (sizeof separator - 1), separator, sizeof separator - 1);
        s = ingot_interrupted(ctx) ? ingot_fail(ctx, INGOT_ERROR_INTERRUPTED, "interrupted")
                                   : file_write(w, story, (uint64_t)length);
        written += length;
    }
    if (!s) return file_commit(w);
    file_abandon(w);
    return s;
}
