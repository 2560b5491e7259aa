/* What weights come in: metadata (key -> value) and tensors (name -> dtype, shape, bytes), the same for each format.
 *
 *     archive *a;
 *     TRY(archive_open(ctx, "run/last", &a));                        // a file, or a folder with model.safetensors
 *     const archive_tensor *t = archive_find(a, "lm_head.weight");   // NULL when it is not there
 *     TRY_OR(done, archive_read(a, t, INGOT_F32, weights));          // converts
 *     archive_close(a);
 *
 * Files are mapped and hostile: every length was checked before archive_open returned, so that `bytes` may be read
 * without a further check. They are not aligned: read them by archive_read or memcpy. One thread opens; many may read.
 */
#ifndef FORMATS_ARCHIVE_H
#define FORMATS_ARCHIVE_H

#include "base/dtype.h"
#include "base/file.h"

#include <jansson.h>

#define ARCHIVE_MOST_DIMS 8

typedef struct archive archive;

typedef struct archive_tensor {
    const char *name;
    const char *format; /* the file's word for the dtype: "BF16", "F8_E4M3" */
    bool readable;      /* false: listed, but no dtype of ours holds it */
    dtype dtype;        /* when readable */
    int dims;
    int64_t shape[ARCHIVE_MOST_DIMS]; /* slowest first, as PyTorch prints it */
    int64_t elements;
    const uint8_t *bytes;
    uint64_t byte_count;
} archive_tensor;

/* Opens a file by what it holds, or a folder's model.safetensors or model.safetensors.index.json with its shards. */
status archive_open(context *ctx, const char *path, archive **out);
/* The same from memory that outlives the archive; `name` is for messages. */
status archive_open_bytes(context *ctx, const char *name, const uint8_t *bytes, uint64_t count, archive **out);
void archive_close(archive *a); /* NULL is fine */

const char *archive_path(const archive *a);
int64_t archive_count(const archive *a);
const archive_tensor *archive_at(const archive *a, int64_t index); /* in the order of the file */
const archive_tensor *archive_find(const archive *a, const char *name);
/* An object, perhaps empty: read it with json_fields_of. In safetensors every value is a string. */
const json_t *archive_metadata(const archive *a);

/* All elements of t as dtype `to`. */
status archive_read(const archive *a, const archive_tensor *t, dtype to, void *out);
/* "(3, 4)" */
char *archive_shape_text(const archive_tensor *t, char out[192]);

/* For readers (safetensors.c): what they fill. The archive owns names, made in its arena. */
typedef struct archive_reader {
    const char *name;
    bool (*matches)(const uint8_t *bytes, uint64_t count);
    status (*read)(archive *a, const char *path, const uint8_t *bytes, uint64_t count);
} archive_reader;
extern const archive_reader safetensors_reader;

context *archive_context(const archive *a);
arena *archive_arena(archive *a);
json_t *archive_metadata_edit(archive *a);
status archive_add(archive *a, const archive_tensor *t);

#endif
