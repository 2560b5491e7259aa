/* vmath.h over arrays, compiled for each instruction set: what tests hold to the stated errors, as the compiler made it. */
#include "kit/cpu/vmath_table.h"
#include "kit/cpu/vmath.h"

#define LOOP(name)                                                                                                     \
    static void loop_##name(float *restrict y, const float *restrict x, int64_t count)                                 \
    {                                                                                                                  \
        for (int64_t i = 0; i < count; i++) y[i] = v_##name(x[i]);                                                     \
    }
LOOP(exp)
LOOP(exp_low)
LOOP(exp2_low)
LOOP(log)
LOOP(tanh)
LOOP(sigmoid)
LOOP(erf)
LOOP(sin)
LOOP(cos)

const vmath_loop ISA_NAME(vmath)[] = {{"exp", loop_exp},           {"exp_low", loop_exp_low},
                                      {"exp2_low", loop_exp2_low}, {"log", loop_log},
                                      {"tanh", loop_tanh},         {"sigmoid", loop_sigmoid},
                                      {"erf", loop_erf},           {"sin", loop_sin},
                                      {"cos", loop_cos},           {0}};
