/* Where the time of a program goes: its steps timed one by one, summed, beside what the machine could do.
 *
 *     profile *f = profile_new(PROFILE_BY_KERNEL, PROFILE_SYNC_OP);
 *     TRY(profile_watch(f, program));
 *     for (int i = 0; i < runs; i++) { profile_begin(f); ingot_run(program, NULL); TRY(profile_add(f, ctx, program)); }
 *     json_t *rows = profile_rows(f, device, &machine, &limit, "train B8xT128");
 */
#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

#include "bench/row.h"
#include "engine/program.h"

typedef struct profile profile;

/* What steps are summed by. Scopes are names of layers with their numbers left out: "model.layers.*.mlp". */
typedef enum profile_by { PROFILE_BY_KERNEL, PROFILE_BY_OP, PROFILE_BY_SCOPE } profile_by;
/* How often the device is waited for: after each op, each layer, each program. The finer, the more it disturbs a device
 * that works ahead of its host; a CPU has done an op when it returns. With layer and step, `by` is a layer or a program. */
typedef enum profile_sync { PROFILE_SYNC_OP, PROFILE_SYNC_LAYER, PROFILE_SYNC_STEP } profile_sync;

profile *profile_new(profile_by by, profile_sync sync); /* NULL: no memory */
void profile_free(profile *f);
/* From here on runs of the program are timed; off: as fast as it goes. A program may be watched again. */
status profile_watch(const profile *f, ingot_program *p, bool on);
/* A run of several programs begins; then the times of each program's last run are added. */
void profile_begin(profile *f);
status profile_add(profile *f, context *ctx, const ingot_program *p);
/* Rows, longest first: op, kernel, calls, ms, share, gflops, gb_per_s, intensity (FLOPs a byte), of_limit (the roofline's
 * time over the measured one), above_limit_ms (the rest); and the fields that rows share, times being those of a run. */
json_t *profile_rows(const profile *f, const device *d, const machine *on, const device_limit *limit, const char *model,
                     const char *test);
double profile_run_ms(const profile *f); /* the sum of all steps, median over runs */

/* A trace of the program's last run, as Chrome and Perfetto read it; start_us is moved to its end. */
void profile_trace(const profile *f, const ingot_program *p, double *start_us, text *out);

#endif
