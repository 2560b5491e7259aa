/* Twelve chains of vector multiply-adds: more than latency times units of any core so far. */
#include "kit/cpu/cpu.h"

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { CHAINS = 12 };

#if defined(__x86_64__)
#define VECTOR_REGISTER(v) "+v"(v)
#else
#define VECTOR_REGISTER(v) "+w"(v)
#endif

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));

double ISA_NAME(peak_run)(long rounds);
double ISA_NAME(peak_flops)(void);

double ISA_NAME(peak_run)(long rounds)
{
    vec sum[CHAINS], x = {0}, y = {0};
    for (int i = 0; i < CHAINS; i++) sum[i] = (vec){0} + (float)i;
    x += 0.999f;
    y += 1e-3f;
    for (long r = 0; r < rounds; r++) {
        _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++)
        {
            sum[i] = sum[i] * x + y;
            __asm__ volatile("" : VECTOR_REGISTER(sum[i])); /* one by one, as written */
        }
    }
    double total = 0;
    for (int i = 0; i < CHAINS; i++)
        for (int j = 0; j < LANES; j++) total += (double)sum[i][j];
    return total;
}

double ISA_NAME(peak_flops)(void)
{
    return 2.0 * CHAINS * LANES;
}
