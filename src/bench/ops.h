/* Single ops: each sample timed, beside what its FLOPs and bytes would take, and beside its lowered form. */
#ifndef BENCH_OPS_H
#define BENCH_OPS_H

#include "bench/row.h"
#include "graph/op.h"

typedef enum ops_form { OPS_FUSED, OPS_LOWERED, OPS_BOTH } ops_form;

typedef struct ops_plan {
    const op_def *const *ops; /* ends with NULL */
    const dtype *dtypes;
    int64_t dtype_count;
    ops_form form;
    bool samples; /* those of the tests too, not only the shapes for measuring */
    const op_sample
        *shapes; /* in place of all of these: rank 0 or more where given; attributes are the op's first ones */
    int64_t shape_count;
    int64_t chain; /* so many calls in one program, each on the first result of the one before; figures are of one */
    bench_effort effort;
} ops_plan;

/* A row each: op, shape, dtype, form, kernels, dispatches, bytes, flops, us, gflops, gb_per_s, of_limit; with OPS_BOTH the
 * fused row also says lowered_us, lowered_dispatches, lowered_bytes and ratio (lowered time over its own). The bare launch
 * of the device is a row too, op "launch". What this device cannot run is left out and counted. */
status bench_ops(device *d, const ops_plan *plan, const machine *on, json_t *rows, int *left_out);

#endif
