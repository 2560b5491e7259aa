/* The functions of vmath.h over arrays, by name, for each instruction set; each list ends with {0}. */
#ifndef KIT_CPU_VMATH_TABLE_H
#define KIT_CPU_VMATH_TABLE_H

#include "kit/cpu/cpu.h"

typedef struct vmath_loop {
    const char *name;
    void (*run)(float *restrict y, const float *restrict x, int64_t count);
} vmath_loop;

extern const vmath_loop vmath_baseline[];
#ifdef INGOT_HAVE_AVX2
extern const vmath_loop vmath_avx2[], vmath_avx512[];
#endif

#endif
