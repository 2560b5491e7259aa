/* Results of a device against what ref expects, and of two runs against each other. */
#ifndef CHECK_COMPARE_H
#define CHECK_COMPARE_H

#include "check/trial.h"

/* Fails where !(error <= tolerance), so that a NaN fails. `variant`: "strided, with gradients". */
void compare_outputs(trial *t, const trial_outputs *got, const char *variant, const error_units *units);
void compare_bits(trial *t, const trial_outputs *first, const trial_outputs *second, const char *variant);

#endif
