/* Number formats of values and tensors.
 *
 *     printf("%s takes %d bytes\n", ingot_dtype_name(INGOT_BF16), (int)ingot_dtype_bytes(INGOT_BF16));   // bfloat16 takes 2
 */
#ifndef INGOT_DTYPE_H
#define INGOT_DTYPE_H

#include "ingot/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ingot_dtype {
    INGOT_F32,
    INGOT_F64,
    INGOT_F16,
    INGOT_BF16,
    INGOT_I32,
    INGOT_I64,
    INGOT_I8,
    INGOT_U8,
    INGOT_DTYPE_COUNT
} ingot_dtype;

/* "float32", "bfloat16", "int32": the names that flags and files use. */
INGOT_API const char *ingot_dtype_name(ingot_dtype dtype);
/* Bytes of one element. Quantized blocks, when they come, are asked with their block size. */
INGOT_API int64_t ingot_dtype_bytes(ingot_dtype dtype);
/* Returns 1 and sets *out when `name` is a dtype's name or a usual short form ("f32", "bf16"). */
INGOT_API int ingot_dtype_parse(const char *name, ingot_dtype *out);

#ifdef __cplusplus
}
#endif
#endif
