/* Files of pictures, written and read; see images.h. */
#define _GNU_SOURCE
#include "data/images.h"
#include "base/file.h"
#include "base/threads.h"
#include "data/batches.h"

#include <glob.h>
#include <stdio.h>
#include <unistd.h>

/* ---- write ---- */

typedef struct draw_task {
    uint64_t seed, first;
    uint8_t *records;
} draw_task;

static void draw(void *arg, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const draw_task *t = arg;
    for (int64_t i = first; i < last; i++)
        shape_draw(t->seed, t->first + (uint64_t)i, t->records + i * IMAGE_RECORD_BYTES);
}

/* Pictures first, first + 1, ... of the seed into one file. */
static status write_file(context *ctx, const char *folder, const char *name, uint64_t seed, uint64_t first,
                         int64_t count)
{
    uint64_t bytes = (uint64_t)count * IMAGE_RECORD_BYTES;
    draw_task t = {seed, first, malloc(bytes)};
    char *path = path_join(folder, name);
    struct pool *p = context_pool(ctx);
    status s = t.records && path && p ? INGOT_OK : fail_memory(ctx, name, bytes);
    if (!s) {
        pool_for(p, count, 16, draw, &t);
        s = file_write_whole(ctx, path, t.records, bytes);
    }
    free(path);
    free(t.records);
    return s;
}

static status write_names(context *ctx, const char *folder)
{
    text names = {0};
    for (int i = 0; i < IMAGE_CLASSES; i++) text_printf(&names, "%s\n", shape_names[i]);
    char *path = path_join(folder, "batches.meta.txt");
    status s = path && !names.failed ? file_write_whole(ctx, path, names.at, names.length)
                                     : fail_memory(ctx, "batches.meta.txt", 256);
    free(path);
    text_free(&names);
    return s;
}

/* What an earlier, larger set left behind would be read as ours. */
static void remove_files_from(const char *folder, int file)
{
    for (bool removed = true; removed; file++) {
        char *path;
        if (asprintf(&path, "%s/data_batch_%d.bin", folder, file) < 0) return;
        removed = !unlink(path);
        free(path);
    }
}

ingot_status ingot_images_make(ingot_context *ctx, const char *folder, uint64_t seed, int64_t train, int64_t val)
{
    if (train < 1 || val < 1 || val > INT32_MAX || train > INT32_MAX)
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT,
                          "%lld pictures to train on and %lld to validate: give at least 1 of each", (long long)train,
                          (long long)val);
    TRY(directory_create(ctx, folder));
    uint64_t next = 0;
    int file = 1;
    for (; train > 0; file++) {
        char name[40];
        int64_t count = MIN(train, IMAGE_FILE_RECORDS);
        snprintf(name, sizeof name, "data_batch_%d.bin", file);
        TRY(write_file(ctx, folder, name, seed, next, count));
        next += (uint64_t)count, train -= count;
        progress(ctx, "pictures", (double)next, (double)(next + (uint64_t)train), "pictures");
    }
    remove_files_from(folder, file);
    TRY(write_file(ctx, folder, "test_batch.bin", seed, next, val));
    return write_names(ctx, folder);
}

/* ---- read ---- */

typedef struct image_file {
    file_map map;
    int64_t end; /* pictures up to the end of this file */
} image_file;

struct ingot_images {
    context *ctx;
    ARRAY(image_file) files;
    int64_t count;
};

status images_parse(context *ctx, const char *name, const uint8_t *bytes, uint64_t count, int64_t *records)
{
    *records = 0;
    if (!count || count % IMAGE_RECORD_BYTES)
        return ingot_fail(ctx, INGOT_ERROR_FORMAT,
                          "%s has %llu bytes, which are no whole number of CIFAR-10's records of 3073 bytes", name,
                          (unsigned long long)count);
    int64_t found = (int64_t)(count / IMAGE_RECORD_BYTES);
    for (int64_t i = 0; i < found; i++)
        if (bytes[i * IMAGE_RECORD_BYTES] >= IMAGE_CLASSES)
            return ingot_fail(ctx, INGOT_ERROR_FORMAT, "%s: record %lld has label %d; labels are 0 to 9", name,
                              (long long)i, bytes[i * IMAGE_RECORD_BYTES]);
    *records = found;
    return INGOT_OK;
}

static status add_file(ingot_images *images, const char *path)
{
    image_file file;
    int64_t records;
    TRY(file_map_open(images->ctx, path, &file.map));
    status s = images_parse(images->ctx, path, file.map.at, file.map.bytes, &records);
    if (!s) {
        file.end = images->count + records;
        if (!ARRAY_PUSH(&images->files, file)) s = fail_memory(images->ctx, path, sizeof file);
    }
    if (s)
        file_map_close(&file.map);
    else
        images->count = file.end;
    return s;
}

static status add_folder(ingot_images *images, const char *folder, const char *split)
{
    bool train = !strcmp(split, "train");
    if (!train && strcmp(split, "val"))
        return ingot_fail(images->ctx, INGOT_ERROR_ARGUMENT, "no split \"%s\": there are train and val", split);
    char *pattern = path_join(folder, train ? "data_batch_*.bin" : "test_batch.bin");
    if (!pattern) return fail_memory(images->ctx, folder, strlen(folder));
    glob_t matches = {0};
    status s = INGOT_OK;
    if (glob(pattern, 0, NULL, &matches))
        s = ingot_fail(images->ctx, INGOT_ERROR_FILE, "there is no %s; `ingot data images` makes such a folder",
                       pattern);
    for (size_t i = 0; !s && i < matches.gl_pathc; i++) s = add_file(images, matches.gl_pathv[i]);
    globfree(&matches);
    free(pattern);
    return s;
}

ingot_status ingot_images_open(ingot_context *ctx, const char *path, const char *split, ingot_images **out)
{
    *out = NULL;
    ingot_images *images = calloc(1, sizeof *images);
    if (!images) return fail_memory(ctx, path, sizeof *images);
    images->ctx = ctx;
    status s = directory_exists(path) ? add_folder(images, path, split) : add_file(images, path);
    if (s) {
        ingot_images_free(images);
        return s;
    }
    *out = images;
    return INGOT_OK;
}

void ingot_images_free(ingot_images *images)
{
    if (!images) return;
    for (int64_t i = 0; i < images->files.count; i++) file_map_close(&images->files.at[i].map);
    ARRAY_FREE(&images->files);
    free(images);
}

int64_t ingot_images_count(const ingot_images *images)
{
    return images->count;
}

static const uint8_t *record_at(const ingot_images *images, int64_t index)
{
    int64_t file = 0;
    while (images->files.at[file].end <= index) file++;
    int64_t first = file ? images->files.at[file - 1].end : 0;
    return images->files.at[file].map.at + (index - first) * IMAGE_RECORD_BYTES;
}

/* Planes of bytes to interleaved channels around 0. */
static void to_nhwc(const uint8_t *planes, float *out)
{
    for (int i = 0; i < IMAGE_PIXELS; i++)
        for (int c = 0; c < 3; c++) out[3 * i + c] = ((float)planes[c * IMAGE_PIXELS + i] / 255 - .5f) / .25f;
}

ingot_status ingot_images_batch(const ingot_images *images, const ingot_image_order *order, int64_t position,
                                int64_t rows, float *pixels, int32_t *labels)
{
    if (position < 0 || rows < 0 || (!order->shuffle && rows > images->count - position))
        return ingot_fail(images->ctx, INGOT_ERROR_ARGUMENT, "pictures %lld to %lld of %lld were asked for",
                          (long long)position, (long long)position + rows, (long long)images->count);
    for (int64_t r = 0; r < rows; r++) {
        uint64_t at = (uint64_t)(position + r), count = (uint64_t)images->count;
        if (order->shuffle) at = permute(order->seed, (uint32_t)(at / count), at % count, count);
        const uint8_t *record = record_at(images, (int64_t)at);
        labels[r] = record[0];
        to_nhwc(record + 1, pixels + r * 3 * IMAGE_PIXELS);
    }
    return INGOT_OK;
}
