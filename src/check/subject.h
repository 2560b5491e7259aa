/* One graph under test: how it is built in a layout, what goes in, what came out. */
#ifndef CHECK_SUBJECT_H
#define CHECK_SUBJECT_H

#include "check/check.h"

typedef enum check_layout {
    LAYOUT_CONTIGUOUS,
    LAYOUT_STRIDED, /* inputs are transposed slices of larger memory */
    LAYOUT_WIDER,   /* inputs are columns of wider rows, as keys in a product that made queries, keys and values */
    LAYOUT_OWNED,   /* inputs are copies that die in the graph: outputs may be written over them */
    LAYOUT_COUNT
} check_layout;

typedef enum check_want { WANT_OUTPUTS, WANT_LOSS, WANT_GRADIENTS, WANT_COUNT } check_want;

/* What the host fills: an input or a state; the values in logical order. */
typedef struct check_source {
    const char *name;
    dtype dtype;
    shape shape;
    check_fill fill;
    bool state, cotangent;
    double *values;
} check_source;

typedef ARRAY(check_source) check_sources;

struct check_graph {
    build *b;
    const check_subject *subject;
    check_layout layout;
    arena *arena;
    check_sources *sources; /* of the first build; later ones must be alike */
    int64_t next;
    ARRAY(value *) inputs; /* as the subject sees them, in the order of sources */
    ARRAY(port) outputs, side_outputs;
};

/* Names of the outputs: what the subject gave, "loss", and "gradient of <source>". */

/* Builds the graph with the outputs that are wanted. `sources` is filled on the first call, values included. */
status subject_build(context *ctx, const check_subject *subject, check_layout layout, check_want want, uint64_t seed,
                     arena *a, check_sources *sources, build **out);
/* The values of a source as its memory wants them in a layout, in its dtype. */
void source_image(const check_source *source, check_layout layout, dtype type, void *out);
shape source_storage(shape s, check_layout layout);

#endif
