/* How far a value may be off: the running error analysis of a graph (Wilkinson; Higham 2002, ch. 3), as a graph. */
#ifndef CHECK_ERROR_BOUND_H
#define CHECK_ERROR_BOUND_H

#include "check/check.h"

typedef struct error_units {
    double rounding; /* of one operation: 2^-24 for float32, which kernels of 16-bit types compute with too */
    double stored;   /* of a result that is written narrower than computed: 2^-8 for bfloat16; 0: there is none */
    double product;  /* of a product's operands: rounding, or 2^-11 for TF32 */
    double smallest; /* what underflows to zero */
    bool sums;       /* the kernels may sum in any order */
    bool linear;     /* rounding errors of a sum may all point the same way: n of them, else about sqrt(n) */
    /* Errors are deviations of independent quantities, not bounds: for deep graphs, whose bounds grow by the sum of
     * magnitudes in each layer until they say nothing. */
    bool independent;
} error_units;

/* For each output of the graph, which is lowered to primitives and must be float64: adds an output "<name>.error", the
 * bound of its rounding error had it been computed with `units`, and the values whose ids are `narrow` been written
 * narrower. Integer outputs get none. */
status error_bounds_add(build *b, const error_units *units, const bool *narrow);
/* The units of a compiled graph's kernels, whose floats are of `type`. */
error_units error_units_of(const build *b, dtype type);

#endif
