/* Twelve chains of vector multiply-adds: more than latency times units of any core so far. */
#include "kit/cpu/peak.h"
#include "kit/cpu/cpu.h"

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif
#define EACH_CHAIN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
enum { CHAINS = 12 };

#if defined(__x86_64__)
#define VECTOR_REGISTER(v) "+v"(v)
#else
#define VECTOR_REGISTER(v) "+w"(v)
#endif
/* In a register, one by one, as written. */
#define KEEP(v) __asm__ volatile("" : VECTOR_REGISTER(v))

double ISA_NAME(peak_run)(peak_kind kind, long rounds);
double ISA_NAME(peak_flops)(peak_kind kind);

typedef float floats __attribute__((vector_size(VECTOR_BYTES)));
typedef double doubles __attribute__((vector_size(VECTOR_BYTES)));

/* Variables of their own and no array: an array may end up in memory. */
#define START(i) sum##i = x + i;
#define STEP(i)                                                                                                        \
    sum##i = sum##i * x + y;                                                                                           \
    KEEP(sum##i);
#define ADD(i)    all += sum##i;
#define CHAINS_12 sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7, sum8, sum9, sum10, sum11

#define CHAINS_OF(name, vector, scalar)                                                                                \
    static double name(long rounds)                                                                                    \
    {                                                                                                                  \
        vector CHAINS_12, x = {0}, y = {0}, all = {0};                                                                 \
        x += (scalar)0.999;                                                                                            \
        y += (scalar)1e-3;                                                                                             \
        EACH_CHAIN(START)                                                                                              \
        for (long r = 0; r < rounds; r++) {                                                                            \
            EACH_CHAIN(STEP)                                                                                           \
        }                                                                                                              \
        EACH_CHAIN(ADD)                                                                                                \
        return (double)all[0];                                                                                         \
    }
CHAINS_OF(float_chains, floats, float)
CHAINS_OF(double_chains, doubles, double)

#if defined(__AVX512F__)
#define START_BF16(i) sum##i = _mm512_set1_ps((float)i);
#define STEP_BF16(i)                                                                                                   \
    sum##i = _mm512_dpbf16_ps(sum##i, x, x);                                                                           \
    KEEP(sum##i);
__attribute__((target("avx512bf16"))) static double bf16_chains(long rounds)
{
    __m512 CHAINS_12, all = _mm512_setzero_ps();
    const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f));
    EACH_CHAIN(START_BF16)
    for (long r = 0; r < rounds; r++) {
        EACH_CHAIN(STEP_BF16)
    }
    EACH_CHAIN(ADD)
    return (double)_mm512_reduce_add_ps(all);
}

static bool has_bf16(void)
{
    return __builtin_cpu_supports("avx512bf16");
}
#else
static double bf16_chains(long rounds)
{
    return (double)rounds;
}

static bool has_bf16(void)
{
    return false;
}
#endif

double ISA_NAME(peak_run)(peak_kind kind, long rounds)
{
    return kind == PEAK_F64 ? double_chains(rounds) : kind == PEAK_BF16 ? bf16_chains(rounds) : float_chains(rounds);
}

double ISA_NAME(peak_flops)(peak_kind kind)
{
    double vector = 2.0 * CHAINS * VECTOR_BYTES; /* two FLOPs a multiply-add */
    if (kind == PEAK_BF16) return has_bf16() ? vector / 2 : 0;
    return vector / (kind == PEAK_F64 ? 8 : 4);
}
