/* Where the time of a program goes: its steps timed one by one, summed by kernel, beside what the machine could do. */
#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

#include "bench/machine.h"
#include "engine/program.h"

#include <jansson.h>

typedef struct profile profile;

profile *profile_new(void); /* NULL: no memory */
void profile_free(profile *f);
/* Adds the times of the program's last run; program_time_steps was called before it. */
status profile_add(profile *f, context *ctx, const ingot_program *p);
/* Rows, longest first: kernel, calls, ms, share, gflops, gb_per_s, of_limit (the roofline's time over the measured one). */
json_t *profile_rows(const profile *f, const machine *on, int64_t runs);
/* A trace of the last program run that was added, as Chrome and Perfetto read it. */
void profile_trace(const ingot_program *p, double start_us, text *out);

#endif
