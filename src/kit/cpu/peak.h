/* The most multiply-adds a second: chains that wait for nobody, in registers, on the best instruction set that is here. */
#ifndef KIT_CPU_PEAK_H
#define KIT_CPU_PEAK_H

typedef enum peak_kind {
    PEAK_F32,
    PEAK_F64,
    PEAK_BF16 /* bfloat16 pairs added up in float32: amx_bf16, else avx512_bf16 */
} peak_kind;

/* Runs the chains; returns a sum that must be used. */
double peak_run(peak_kind kind, long rounds);
double peak_flops_a_round(peak_kind kind); /* 0: this machine has no such instruction */

/* The same of tiles alone (peak_amx.c). */
double peak_run_amx(long rounds);
double peak_flops_amx(void); /* 0: built without */

#endif
