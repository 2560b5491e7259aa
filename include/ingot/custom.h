/* Ops of your own, without touching Ingot's tree: ordinary ops of the graph, differentiable and fused like the rest.
 *
 *     static void lower(ingot_build *b, const double *k, ingot_value *const *in, ingot_value **out)
 *     {
 *         out[0] = ingot_mul(b, in[0], ingot_sigmoid(b, ingot_mul_scalar(b, in[0], k[0])));
 *     }
 *     ingot_custom_op *swish;
 *     ingot_custom_def def = {.name = "swish", .inputs = 1, .outputs = 1, .numbers = 1, .lower = lower};
 *     if (ingot_custom_op_new(ctx, &def, &swish)) return puts(ingot_message(ctx));
 *     double beta = 1.7;
 *     ingot_value *y;
 *     ingot_custom(b, swish, &beta, &x, &y);
 *
 * `lower` is the op's meaning in smaller ops: shapes follow from it, it runs where there is no kernel, the oracle device
 * `ref` computes by it, and without a `grad` the gradient goes through it. A kernel makes it fast: a function for the cpu, a
 * text of CUDA C++ for NVIDIA GPUs, checked as built-in ones are by running the graph on `ref` as well (ingot/program.h).
 *
 * Thread safety: an op may be used from many threads; its functions must allow that, and keep nothing between calls.
 */
#ifndef INGOT_CUSTOM_H
#define INGOT_CUSTOM_H

#include "ingot/ops.h"
#include "ingot/program.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_CUSTOM_MOST_INPUTS  8
#define INGOT_CUSTOM_MOST_OUTPUTS 4
#define INGOT_CUSTOM_MOST_NUMBERS 8

typedef struct ingot_custom_op ingot_custom_op;

/* Memory as a kernel sees it: elements of float32 (or the integers that went in), contiguous, row-major. */
typedef struct ingot_custom_tensor {
    void *data; /* of outputs: NULL where nobody needs it */
    ingot_dtype dtype;
    ingot_shape shape;
    int64_t count; /* elements */
} ingot_custom_tensor;

typedef struct ingot_custom_call {
    const ingot_custom_tensor *in, *out;
    const double *numbers;
    void *threads; /* for ingot_custom_for */
} ingot_custom_call;

/* How a CUDA kernel is launched. */
typedef struct ingot_custom_grid {
    int64_t blocks;
    int threads; /* of a block */
    int shared_bytes;
} ingot_custom_grid;

typedef struct ingot_custom_def {
    const char *name, *doc; /* a word; a sentence or NULL. Both are copied */
    int inputs, outputs;    /* at least 1 of each */
    int numbers;            /* constants that each use gives, as the learning rate in a formula; may be 0 */
    /* Sets out[0 .. outputs - 1]. It may use any op, but no inputs, states or random numbers of its own. */
    void (*lower)(ingot_build *b, const double *numbers, ingot_value *const *in, ingot_value **out);
    /* Sets din[i] to d loss / d in[i] (same shape and dtype) where need[i]; NULL stays for zero. dout[o] is
     * d loss / d out[o], NULL where the loss does not depend on it. NULL: through `lower`. */
    void (*grad)(ingot_build *b, const double *numbers, ingot_value *const *in, ingot_value *const *out,
                 ingot_value *const *dout, const int *need, ingot_value **din);
    /* Writes every output that has memory; it may be called for one use at a time in several threads. Taken when all
     * floats are float32. NULL: `lower` runs. Errors: an INGOT_ERROR_... stops the run and sticks to the device. */
    ingot_status (*cpu)(const ingot_custom_call *call);
    /* CUDA C++, compiled at run time (NVRTC, C++17) for the GPU that is there. It defines
     *     extern "C" __global__ void NAME(const ingot_call call)
     * with the op's name, which is an identifier then. What the call holds, in the GPU's memory, of numbers as of tensors:
     *     struct ingot_tensor { void *data; long long count, dim[8]; int rank; };
     *     struct ingot_call { ingot_tensor in[8], out[4]; double numbers[8]; };
     * The contract is that of `cpu`. NULL: `lower` runs. The text is copied. A text that does not compile is an
     * INGOT_ERROR_ARGUMENT of ingot_compile, with the compiler's words and the text's lines. */
    const char *cuda;
    /* Its grid; data is NULL in the call. NULL: blocks of 256 threads, one thread an element of out[0], at most 16384 blocks,
     * so that a kernel goes over the rest in strides. */
    ingot_custom_grid (*cuda_grid)(const ingot_custom_call *call);
    int row_invariant; /* the kernel's sums do not depend on the number of rows (ingot_device_options.row_invariant) */
} ingot_custom_def;

/* INGOT_ERROR_ARGUMENT: counts out of range, no name or no lower, a name with CUDA source that is no identifier. */
INGOT_API ingot_status ingot_custom_op_new(ingot_context *ctx, const ingot_custom_def *def, ingot_custom_op **out);
/* After the programs and builders that use it. */
INGOT_API void ingot_custom_op_free(ingot_custom_op *op);

/* Uses the op: in has def.inputs values, out gets def.outputs. numbers may be NULL when there are none. */
INGOT_API void ingot_custom(ingot_build *b, const ingot_custom_op *op, const double *numbers, ingot_value *const *in,
                            ingot_value **out);

/* For kernels: runs `rows` over [0, total) on the device's threads, in pieces of at least `grain`; returns when all is
 * done. How the range is cut depends only on total, grain and the number of threads. */
INGOT_API void ingot_custom_for(const ingot_custom_call *call, int64_t total, int64_t grain,
                                void (*rows)(const ingot_custom_call *call, int64_t first, int64_t last));

#ifdef __cplusplus
}
#endif
#endif
