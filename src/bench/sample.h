/* A sample of an op as a graph of its own, to be timed.
 *
 *     build *b = sample_graph(ctx, &op_softmax_def, &op_softmax_def.bench[0], INGOT_BF16, 1);
 *     TRY(ingot_compile(b, device, NULL, &p));
 */
#ifndef BENCH_SAMPLE_H
#define BENCH_SAMPLE_H

#include "graph/op.h"

/* Inputs as models have them: floats of `type`, float32 where the op takes statistics or gains. Outputs are those that are
 * not optional. With `calls` above 1 each but the first takes the first output of the one before as its first input; an
 * error of the builder where that does not fit. NULL: no memory. */
build *sample_graph(context *ctx, const op_def *op, const op_sample *sample, dtype type, int64_t calls);

#endif
