/* Which copy of peak_cpu.c runs. */
#include "kit/cpu/peak.h"
#include "kit/cpu/cpu.h"

#define ISA(name)                                                                                                      \
    double peak_run_##name(long rounds);                                                                               \
    double peak_flops_##name(void);
ISA(baseline)
ISA(avx2)
ISA(avx512)

double peak_multiply_adds(long rounds)
{
    cpu_isa isa = cpu_detect_isa();
#ifdef INGOT_HAVE_AVX512
    if (isa == CPU_AVX512) return peak_run_avx512(rounds);
#endif
#ifdef INGOT_HAVE_AVX2
    if (isa >= CPU_AVX2) return peak_run_avx2(rounds);
#endif
    (void)isa;
    return peak_run_baseline(rounds);
}

double peak_flops_a_round(void)
{
    cpu_isa isa = cpu_detect_isa();
#ifdef INGOT_HAVE_AVX512
    if (isa == CPU_AVX512) return peak_flops_avx512();
#endif
#ifdef INGOT_HAVE_AVX2
    if (isa >= CPU_AVX2) return peak_flops_avx2();
#endif
    (void)isa;
    return peak_flops_baseline();
}
