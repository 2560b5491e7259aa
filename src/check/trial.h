/* Running a subject: on the device under test, on ref with error bounds, and on ref along lines for finite differences. */
#ifndef CHECK_TRIAL_H
#define CHECK_TRIAL_H

#include "check/error_bound.h"
#include "check/subject.h"
#include "engine/program.h"

typedef struct trial_output {
    const char *name;
    dtype dtype;
    shape shape;
    double *values, *errors; /* errors: of ref's outputs only */
} trial_output;
typedef ARRAY(trial_output) trial_outputs;

/* What a check runs on. With poison no value is written over another, so reuse is tried without. */
typedef struct check_devices {
    device *poisoned, *plain, *ref;
} check_devices;

typedef struct trial {
    context *ctx;
    const check_options *options;
    const check_devices *devices;
    arena *arena; /* of one subject */
    const check_subject *subject;
    check_sources sources;
    trial_outputs expected; /* of ref, with gradients where there are any */
    uint64_t seed;
    check_row *row;
} trial;

/* Builds and compiles on the device under test. INGOT_ERROR_UNSUPPORTED is for the caller to judge. */
status trial_compile(trial *t, const check_subject *subject, check_layout layout, check_want want, ingot_program **out);
/* Writes the sources, runs, reads every output. */
status trial_run(trial *t, ingot_program *p, check_layout layout, trial_outputs *out);
/* What ref gives in float64, and how far a device whose kernels are like `units` may be off. */
status trial_expect(trial *t, const error_units *units);
/* The loss alone, on ref. */
status trial_compile_loss(trial *t, ingot_program **out);
/* Directional derivatives of the loss along random lines against the gradients in `expected`. */
status trial_finite_differences(trial *t);

/* Whether values of `d` are rounded when they are written: 16 bits, and float32 where float64 is tested. */
bool trial_is_narrow(const trial *t, dtype d);

const trial_output *trial_find(const trial_outputs *outputs, const char *name);
/* Notes a failure in the row; the first one keeps its message. */
void trial_failed(trial *t, const char *format, ...) INGOT_PRINTF(2, 3);

#endif
