/* Which copy of peak_cpu.c runs. */
#include "kit/cpu/peak.h"
#include "kit/cpu/cpu.h"

typedef struct peak_copy {
    double (*run)(peak_kind kind, long rounds);
    double (*flops)(peak_kind kind);
} peak_copy;

#define ISA(name)                                                                                                      \
    double peak_run_##name(peak_kind kind, long rounds);                                                               \
    double peak_flops_##name(peak_kind kind);
ISA(baseline)
ISA(avx2)
ISA(avx512)

static bool tiles_here(peak_kind kind)
{
    return kind == PEAK_BF16 && peak_flops_amx() > 0 && cpu_ask_for_amx();
}

static peak_copy copy_here(void)
{
    cpu_isa isa = cpu_detect_isa();
#ifdef INGOT_HAVE_AVX512
    if (isa >= CPU_AVX512) return (peak_copy){peak_run_avx512, peak_flops_avx512};
#endif
#ifdef INGOT_HAVE_AVX2
    if (isa >= CPU_AVX2) return (peak_copy){peak_run_avx2, peak_flops_avx2};
#endif
    (void)isa;
    return (peak_copy){peak_run_baseline, peak_flops_baseline};
}

double peak_run(peak_kind kind, long rounds)
{
    return tiles_here(kind) ? peak_run_amx(rounds) : copy_here().run(kind, rounds);
}

double peak_flops_a_round(peak_kind kind)
{
    return tiles_here(kind) ? peak_flops_amx() : copy_here().flops(kind);
}
