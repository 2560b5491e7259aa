/* Writing safetensors. The header leads, so tensors are declared first; then their bytes are appended in that order, in
 * pieces of any size: no second copy of the weights is made. Reading is archive.h's.
 *
 *     safetensors_writer *w;
 *     TRY(safetensors_create(ctx, "model.safetensors", &w));
 *     safetensors_metadata(w, "format", "pt");
 *     safetensors_declare(w, "wte.weight", INGOT_F32, 2, (int64_t[]){1776, 128});
 *     safetensors_append(w, weights, 1776 * 128 * 4);
 *     TRY(safetensors_commit(w));                        // the first error of all of these; whole or not at all
 *
 * The header is padded so that data begins at a multiple of 64 bytes. Declare wide dtypes before narrow ones, and every
 * tensor is aligned for its dtype too.
 */
#ifndef FORMATS_SAFETENSORS_H
#define FORMATS_SAFETENSORS_H

#include "formats/archive.h"

typedef struct safetensors_writer safetensors_writer;

status safetensors_create(context *ctx, const char *path, safetensors_writer **out);
void safetensors_metadata(safetensors_writer *w, const char *key, const char *value);
void safetensors_declare(safetensors_writer *w, const char *name, dtype d, int dims, const int64_t *shape);
status safetensors_append(safetensors_writer *w, const void *bytes, uint64_t count);
status safetensors_commit(safetensors_writer *w); /* frees w, whatever it returns */
void safetensors_abandon(safetensors_writer *w);  /* frees w; NULL is fine */

/* "BF16" for INGOT_BF16 */
const char *safetensors_dtype_name(dtype d);

#endif
