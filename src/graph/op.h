/* What an op is: one struct that says everything. No op is named here.
 *
 * A portable op is one file, ops/<name>/<name>.c, with one of these; lines in ops/ops.def and ingot/ops.h make it known.
 * From it come shape inference, dumps, gradients, tests, benchmarks and, where a device has no kernel, its execution.
 */
#ifndef GRAPH_OP_H
#define GRAPH_OP_H

#include "graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

#define OP_MAX_INPUTS 12

typedef enum dtype_class {
    ANY = 0,
    FLOAT,  /* float32, float64, float16, bfloat16 */
    INTEGER /* int32, int64, int8, uint8 */
} dtype_class;

typedef struct op_input {
    const char *name;
    dtype_class takes;
    bool optional;
    bool variadic;           /* the last one only: one or more of it */
    bool not_differentiable; /* integers are so anyway */
    bool wide;               /* float32 where the op's other values are 16-bit: statistics, gains, moments */
} op_input;

#define INPUT(i) ((i) + 1) /* so that 0, unset, is none */

typedef struct op_output {
    const char *name;
    int like;         /* INPUT(i): dtype and shape of input i, unless infer sets others */
    bool optional;    /* made only when asked for */
    bool no_gradient; /* kept for the op's own gradient; takes none itself */
    int may_reuse;    /* INPUT(i): may be written over input i where that dies here */
    int must_alias;   /* INPUT(i): is input i's memory, changed in place */
} op_output;

typedef enum attr_kind {
    ATTR_I64,   /* int64_t */
    ATTR_F64,   /* double */
    ATTR_SHAPE, /* shape; also a list of up to 6 axes or sizes */
    ATTR_TEXT,  /* const char *, static or in the arena */
    ATTR_OTHER  /* compared as bytes, printed by op_def.print */
} attr_kind;

typedef struct attr_field {
    const char *name;
    attr_kind kind;
    size_t offset;
    double minimum, maximum; /* checked where minimum < maximum */
} attr_field;

#define ATTR(type, field, ...)                                                                                         \
    {                                                                                                                  \
        .name = #field, .offset = offsetof(type, field), .kind = __VA_ARGS__                                           \
    }
#define ATTRS(type, ...)                                                                                               \
    .attrs = (const attr_field[]){__VA_ARGS__}, .attr_count = COUNT(((const attr_field[]){__VA_ARGS__})),              \
    .attrs_bytes = sizeof(type)
#define ATTRS_OF(type, n) ((const type *)(n)->attrs)

typedef enum op_trait {
    OP_SOURCE = 1 << 0,             /* input, state, uniform: no work */
    OP_VIEW = 1 << 1,               /* another look at input 0's memory, where `view` says that it can be had */
    OP_PRIMITIVE = 1 << 2,          /* has no lower: needs a kernel on every device */
    OP_NOT_DIFFERENTIABLE = 1 << 3, /* gradients stop here */
    OP_RANDOM = 1 << 4,
    OP_COLLECTIVE = 1 << 5,
    OP_EFFECT = 1 << 6,     /* kept though nobody may read its output */
    OP_INTERNAL = 1 << 7,   /* made by grad functions and passes, not by users */
    OP_STATE = 1 << 8,      /* its value is a state */
    OP_POINTWISE = 1 << 10, /* output elements depend on the same elements of inputs: may be written over any */
    OP_UPDATE = 1 << 9,     /* input 0, a state, becomes input 1 */
    OP_WIDE = 1 << 11,      /* of 16-bit values it is lowered in float32, between casts */
    OP_NARROW = 1 << 12     /* of 16-bit values it is lowered as it is: the products in it are fastest in 16 bits */
} op_trait;

typedef struct op_cost {
    double flops, bytes;
} op_cost;

/* What a test puts into the float inputs of a sample. */
typedef enum sample_values {
    VALUES_NORMAL = 0, /* N(0, 1) */
    VALUES_TINY,       /* N(0, 1) * 1e-8 */
    VALUES_LARGE,      /* N(0, 1) * 1e4 */
    VALUES_WIDE,       /* magnitudes from 1e-8 to 1e4 */
    VALUES_ALL_EQUAL,
    VALUES_ONE_DOMINANT, /* one element of each row is 100 above the rest */
    VALUES_LARGE_OFFSET, /* N(0, 1) + 1e4 */
    VALUES_POSITIVE,     /* uniform in [0.1, 2) */
    VALUES_MASKED,       /* a quarter of the elements is -inf */
    VALUES_ZERO
} sample_values;

typedef struct op_sample {
    shape in[OP_MAX_INPUTS]; /* in order; NOT_GIVEN leaves an optional input out */
    const void *attrs;
    sample_values values;                   /* of float inputs */
    sample_values values_of[OP_MAX_INPUTS]; /* for one input, where it is not 0 */
    int64_t below[OP_MAX_INPUTS];           /* integer inputs: uniform in [0, below); 0 means 8 */
    bool sorted[OP_MAX_INPUTS];             /* integer inputs: ascending along the last dim, starting at 0 */
    int inputs;                             /* of variadic ops; 0: the op's count */
    int outputs;                            /* that these attributes give; 0: the op's count */
    bool no_gradient;                       /* values too far out for finite differences */
} op_sample;

/* Constant shapes for tables: .in = {S(2, 3, 5), S(5)}. NOT_GIVEN: an optional input left out. */
#define S(...)                                                                                                         \
    {                                                                                                                  \
        INGOT_SHAPE_COUNT(__VA_ARGS__),                                                                                \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define S0                                                                                                             \
    {                                                                                                                  \
        0,                                                                                                             \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }
#define NOT_GIVEN                                                                                                      \
    {                                                                                                                  \
        -1,                                                                                                            \
        {                                                                                                              \
            0                                                                                                          \
        }                                                                                                              \
    }
#define SAMPLES(...)                                                                                                   \
    .samples = (const op_sample[]){__VA_ARGS__}, .sample_count = COUNT(((const op_sample[]){__VA_ARGS__}))

/* Shapes as models have them, for `ingot bench ops`; never run by tests. */
#define BENCH(...) .bench = (const op_sample[]){__VA_ARGS__}, .bench_count = COUNT(((const op_sample[]){__VA_ARGS__}))

/* What `infer` fills in; preset from op_output.like. */
typedef struct inferred {
    ingot_dtype dtype;
    ingot_shape shape;
} inferred;

struct op_def {
    const char *name;
    const char *doc;     /* the maths, shapes, source paper */
    const char *formula; /* pointwise ops only: kernel, gradient and fusion come from it */
    op_input inputs[OP_MAX_INPUTS];
    op_output outputs[NODE_MAX_OUTPUTS];
    const attr_field *attrs;
    size_t attr_count, attrs_bytes;
    unsigned traits;
    /* Shapes and dtypes of all outputs from n->in and n->attrs; errors through infer_fail. NULL: as op_output.like says. */
    status (*infer)(build *b, const node *n, inferred *out);
    /* The same maths in smaller ops; sets out[i] for every output that is live in n. */
    void (*lower)(build *b, const node *n, value **out);
    /* dout[i]: gradient of output i, or NULL where nothing depends on it; sets din[j] where need[j]. NULL: through lower. */
    void (*grad)(build *b, node *n, value *const *dout, const bool *need, value **din);
    op_cost (*cost)(const node *n); /* NULL: no FLOPs, each input and output moved once */
    /* OP_VIEW: the output's layout from the input's; false when that memory order cannot give it. */
    bool (*view)(const node *n, const layout *in, layout *out);
    void (*print)(const node *n, text *out); /* ATTR_OTHER attributes */
    const op_sample *samples;
    size_t sample_count;
    const op_sample *bench; /* shapes that are worth measuring */
    size_t bench_count;
    const kernel_def *const
        *kernels; /* custom ops only: their kernels, ends with NULL; built-in ones are the devices' */
};

int op_input_count(const op_def *op);
int op_output_count(const op_def *op);
bool op_attrs_equal(const op_def *op, const void *a, const void *b);
op_cost node_cost(const node *n);
/* INGOT_ERROR_SHAPE with "[op] message": returned by infer. */
status infer_fail(build *b, const node *n, const char *format, ...) INGOT_PRINTF(3, 4);

/* The built-in ops, from ops/ops.def; ends with NULL. */
extern const op_def *const op_table[];
const op_def *op_find(const char *name);

#ifdef __cplusplus
}
#endif

#endif
