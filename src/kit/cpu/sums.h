/* Sums of a row in four chains of vectors: one chain would wait for its own last addition.
 *
 *     float mean = sum_row(x, n) / n;
 *     sum_moments m = sum_deviations(x, mean, n);     m.first = sum (x - mean), m.second = sum (x - mean)^2
 */
#ifndef KIT_CPU_SUMS_H
#define KIT_CPU_SUMS_H

#include <stdint.h>

#if defined(__AVX512F__)
#define SUM_BYTES 64
#elif defined(__AVX2__)
#define SUM_BYTES 32
#else
#define SUM_BYTES 16
#endif
enum { SUM_LANES = SUM_BYTES / 4, SUM_CHAINS = 4, SUM_STEP = SUM_LANES * SUM_CHAINS };

typedef float sum_vec __attribute__((vector_size(SUM_BYTES), aligned(4), may_alias));

#if defined(__clang__)
#define SUM_EACH _Pragma("unroll")
#else
#define SUM_EACH _Pragma("GCC unroll 4")
#endif

static inline float sum_chains(const sum_vec chain[SUM_CHAINS])
{
    sum_vec all = (chain[0] + chain[1]) + (chain[2] + chain[3]);
    float sum = 0;
    for (int i = 0; i < SUM_LANES; i++) sum += all[i];
    return sum;
}

static inline float sum_row(const float *x, int64_t count)
{
    sum_vec chain[SUM_CHAINS];
    int64_t j = 0;
    SUM_EACH for (int c = 0; c < SUM_CHAINS; c++) chain[c] = (sum_vec){0};
    for (; j + SUM_STEP <= count; j += SUM_STEP)
        SUM_EACH for (int c = 0; c < SUM_CHAINS; c++) chain[c] += *(const sum_vec *)(x + j + c * SUM_LANES);
    float sum = sum_chains(chain);
    for (; j < count; j++) sum += x[j];
    return sum;
}

typedef struct sum_moments {
    float first, second;
} sum_moments;

/* Of x - from: their sum, and the sum of their squares. */
static inline sum_moments sum_deviations(const float *x, float from, int64_t count)
{
    sum_vec chain[SUM_CHAINS], square[SUM_CHAINS];
    int64_t j = 0;
    SUM_EACH for (int c = 0; c < SUM_CHAINS; c++) chain[c] = square[c] = (sum_vec){0};
    for (; j + SUM_STEP <= count; j += SUM_STEP) SUM_EACH for (int c = 0; c < SUM_CHAINS; c++)
        {
            sum_vec d = *(const sum_vec *)(x + j + c * SUM_LANES) - from;
            chain[c] += d;
            square[c] += d * d;
        }
    sum_moments m = {sum_chains(chain), sum_chains(square)};
    for (; j < count; j++) {
        m.first += x[j] - from;
        m.second += (x[j] - from) * (x[j] - from);
    }
    return m;
}

#endif
