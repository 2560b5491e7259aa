/* Shares of what a device can do, in rows: MFU, of_peak, of_limit. One measurement of a machine that others use may be half
 * of what it can do, and every share then twice of what it is: so limits are measured before and after.
 *
 *     row_add_limit(row, &limit);                   // from the row's own gflops and gb_per_s
 *     TRY(limits_raise(ctx, &on, rows));            // when all is measured
 */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include "bench/row.h"

/* limit_gflops and limit_from; of rows of training mfu; of the ladder of_peak and idle; of others of_limit, which is the
 * roofline's time over the measured one, and above_limit_ms beside ms. Nothing where the limit is unknown. */
void row_add_limit(json_t *row, const device_limit *limit);
/* Measures the processor again, keeps the larger figures in `on` and in the cpu's rows, and warns where the two differ by
 * more than 5 %. */
status limits_raise(context *ctx, machine *on, json_t *rows);

#endif
