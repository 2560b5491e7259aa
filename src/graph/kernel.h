/* What a kernel is: which nodes it takes, which storage it wants, how it is launched. `match` stands beside `launch`, so
 * "supported" and "implemented" cannot disagree.
 */
#ifndef GRAPH_KERNEL_H
#define GRAPH_KERNEL_H

#include "graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The rungs of the CPU ladder; GPU kernels are LEVEL_BEST. A ceiling admits the levels at or below it. */
typedef enum kernel_level {
    LEVEL_NAIVE,
    LEVEL_PARALLEL,
    LEVEL_TILED,
    LEVEL_TILED_PARALLEL,
    LEVEL_SIMD,
    LEVEL_BLAS, /* a side branch: simd with a library's products; admitted by the ceilings blas and best only */
    LEVEL_AVX512_BF16,
    LEVEL_AMX,
    LEVEL_BEST
} kernel_level;

typedef enum kernel_trait {
    KERNEL_ROW_INVARIANT = 1 << 0,  /* its order of summation does not depend on the number of rows */
    KERNEL_ONE_THREAD = 1 << 1,     /* does not use the pool */
    KERNEL_WAITS = 1 << 2,          /* its first launch waits by itself for those before it (kit/cuda) */
    KERNEL_STRIDED_OUTPUT = 1 << 3, /* writes outputs by their strides; elements of the last dim lie side by side */
    KERNEL_BY_REQUEST = 1 << 4 /* no default: taken only where `prefer` names it, and so is an op that a pass makes for
                                  it alone; for kernels that are not yet shown to be faster */
} kernel_trait;

/* The storage that a kernel wants for an input; the layout pass inserts a copy where it lies otherwise. */
typedef enum storage_wanted {
    STORAGE_CONTIGUOUS = 0,  /* and, but for scalars, begins at a multiple of 16 bytes */
    STORAGE_LAST_CONTIGUOUS, /* elements of the last dim side by side, other strides free */
    STORAGE_STRIDED,         /* anything, broadcast strides of 0 as well */
    STORAGE_WIDE_ROWS        /* as LAST_CONTIGUOUS, and every row begins at a multiple of 16 bytes */
} storage_wanted;

/* From it tests derive the tolerance: the error of an output element relative to the magnitudes that flowed into it. */
typedef enum error_model {
    ERROR_EXACT = 0, /* moves and integer work */
    ERROR_POINTWISE, /* a few roundings */
    ERROR_SUM,       /* sums over many terms in the compute dtype */
    ERROR_TF32,
    ERROR_BF16_PRODUCTS
} error_model;

/* A piece of device memory. */
typedef struct allocation {
    void *address; /* NULL where the host cannot name it */
    void *handle;  /* the backend's own */
    int64_t bytes;
} allocation;

/* A tensor as a kernel sees it: where, what, how it lies. */
typedef struct tensor {
    const allocation *memory;
    int64_t byte_offset; /* of element (0, 0, ..) in it */
    void *data;          /* memory->address + byte_offset. NULL: not given, or not live */
    ingot_dtype dtype;
    ingot_shape shape;
    int64_t stride[INGOT_MAX_RANK]; /* in elements */
} tensor;

typedef struct device_caps device_caps; /* each device's own: device/cpu/cpu.h */
typedef struct queue queue;             /* each device's own: what a launch needs besides the step */
struct stage_offer;                     /* how a step does its part of a launch of many steps: kit/cuda/stage.h */

/* One launch, ready to run. Outputs are contiguous, but for kernels of KERNEL_STRIDED_OUTPUT. */
typedef struct step {
    const struct node *node;
    const kernel_def *kernel;
    tensor *in;
    int inputs;
    tensor out[NODE_MAX_OUTPUTS];
    void *scratch; /* scratch_bytes of it, dead after the step */
    const allocation *scratch_memory;
    int64_t scratch_offset, scratch_bytes;
    unsigned resting; /* bit i: input i is a state of which no step before this one in its work changes a byte, as a
                         weight in inference, or what AdamW updates: a kernel of KERNEL_WAITS may read it before it waits */
    void *prepared;   /* what `prepare` made */
    int lane;
    const int *waits; /* steps of other lanes that must be done before */
    int wait_count;
} step;

struct kernel_def {
    const op_def *op;
    const char *name; /* "matmul.tiled" */
    kernel_level level;
    unsigned traits;
    bool (*match)(const node *n, const device_caps *caps); /* dtypes, shapes, attributes; NULL: match_f32 */
    storage_wanted wants[OP_MAX_INPUTS];
    int64_t (*scratch)(const node *n, const device_caps *caps); /* NULL: none */
    status (*prepare)(context *ctx, const step *s, const device_caps *caps, void **out);
    void (*unprepare)(void *prepared);
    status (*launch)(const step *s, queue *q);
    error_model error;
    bool (*stage)(const step *s, const device_caps *caps,
                  struct stage_offer *out); /* NULL: always a launch of its own */
};

/* A device's kernels: arrays that each end with {0}; the list ends with NULL. Earlier is preferred among equal levels. */
typedef const kernel_def *const *kernel_table;

bool match_any(const node *n, const device_caps *caps);
bool match_f32(const node *n, const device_caps *caps); /* every float input and live output is float32 */
bool match_f64(const node *n, const device_caps *caps);

#ifdef __cplusplus
}
#endif

#endif
