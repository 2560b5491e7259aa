/* Results that cost time to make, kept in a folder of the user's by content: the name of a file is a hash of all that the
 * result depends on, and a checksum in it says that it is whole. A file that is damaged or cannot be read is as good as none.
 */
#ifndef BASE_KEPT_H
#define BASE_KEPT_H

#include "base/base.h"

typedef struct kept_key {
    const char *kind;   /* a folder in the folder: "kernels" */
    const char *maker;  /* who made it, how, for what: "nvrtc 13000 sm_90" */
    const char *source; /* from what */
} kept_key;

/* The bytes that were kept for a key, freed by the caller; false: none, or not whole. */
bool kept_read(context *ctx, const char *folder, const kept_key *key, text *out);
/* What cannot be written is not kept, and nobody is told: it will be made again. */
void kept_write(context *ctx, const char *folder, const kept_key *key, const void *bytes, uint64_t count);

#endif
