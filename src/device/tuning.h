/* Choices among kernels that were measured on a machine (ingot devices --tune), in place of those that levels imply.
 *
 *     {"schema": "ingot-tuning-1", "where": "cpu, 2 threads, AVX-512 kernels, ...", "choices": [
 *         {"op": "matmul", "dtype": "bfloat16", "smallest": 16, "kernel": "matmul.avx512-bf16"},
 *         {"op": "matmul", "dtype": "bfloat16", "smallest": 64, "kernel": ""}, ...]}
 *
 * A choice is for an op, the dtype of its first float input, and a class of sizes: the smaller one of the rows and the
 * columns of its result, up to `smallest`. An empty kernel means float32 with casts around it. Without a file, and for what
 * is not in it, choices follow from the levels alone: the same everywhere.
 */
#ifndef DEVICE_TUNING_H
#define DEVICE_TUNING_H

#include "graph/kernel.h"

#define TUNING_SCHEMA  "ingot-tuning-1"
#define TUNING_CLASSES 6

typedef struct tuning_choice {
    char op[48], kernel[64];
    dtype dtype;
    int size_class;
} tuning_choice;

typedef struct tuning {
    ARRAY(tuning_choice) choices;
} tuning;

/* The largest `smallest` of each class; the last one has no end. */
extern const int64_t tuning_bounds[TUNING_CLASSES];
int tuning_class(const node *n);
dtype tuning_dtype(const node *n);

/* The kernel's name that was chosen for the node; NULL: nothing was. */
const char *tuning_find(const tuning *t, const node *n);
bool tuning_add(tuning *t, const char *op, dtype type, int size_class, const char *kernel);
uint64_t tuning_hash(const tuning *t); /* of all choices, in their order */
void tuning_free(tuning *t);           /* NULL is fine */

/* Files. `where` is what the choices hold for, the device's own description: a file for another is refused with
 * INGOT_ERROR_UNSUPPORTED. */
status tuning_read(context *ctx, const char *path, const char *where, tuning **out);
status tuning_parse(context *ctx, const char *name, const char *bytes, uint64_t count, const char *where, tuning **out);
status tuning_write(context *ctx, const char *path, const char *where, const tuning *t);

#endif
