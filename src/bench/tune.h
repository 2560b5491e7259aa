/* Measuring which kernel is the fastest here, op by op, dtype by dtype, size by size. */
#ifndef BENCH_TUNE_H
#define BENCH_TUNE_H

#include "bench/row.h"

/* Tries every kernel of level simd and above that takes an op's bench shapes (of products: one of each class of sizes too),
 * in turns; another than the levels' choice is kept where it is faster by more than 3 % in every round. `rows`, may be NULL: op, shape,
 * dtype, kernel ("casts": float32 with casts around it), us, chosen, usual. */
status tune_device(device *d, double seconds, const machine *on, tuning *out, json_t *rows);

#endif
