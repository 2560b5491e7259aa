/* The same loop, vectorised: seven streams, so memory should be the limit. Sixteen square roots and as many quotients take
 * 18 cycles and more of a core that gets their 480 bytes in 40, so AVX-512 takes approximate ones and a step of Newton's. */
#include "kit/cpu/cpu.h"
#include "kit/cpu/narrow.h"
#include "ops/adamw/adamw.h"

#include <math.h>

#if defined(__AVX512F__)
#define ADAMW_LANES

/* Square root, from 1e-36 on: what is below is below any eps. Within 1.5 units in the last place; NaN stays. */
static inline __m512 root(__m512 x)
{
    __m512 in = _mm512_min_ps(_mm512_set1_ps(3e38f), _mm512_max_ps(_mm512_set1_ps(1e-36f), x));
    __m512 inverse = _mm512_rsqrt14_ps(in), s = _mm512_mul_ps(in, inverse);
    __m512 half = _mm512_mul_ps(inverse, _mm512_set1_ps(0.5f));
    return _mm512_fmadd_ps(half, _mm512_fnmadd_ps(s, s, in), s);
}

static inline __m512 quotient(__m512 x, __m512 by)
{
    __m512 inverse = _mm512_rcp14_ps(by), q = _mm512_mul_ps(x, inverse);
    __m512 rest = _mm512_fnmadd_ps(q, by, x); /* corrects 14 bits to 24 */
    return _mm512_fmadd_ps(rest, inverse, q);
}

/* float_to_bf16 in lanes. */
static inline __m256i narrowed(__m512 x)
{
    __m512i u = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

/* Elements [i, i + 16), or those of the mask: whole vectors go without one, since Zen's masked stores are slow. */
static inline __attribute__((always_inline)) void adamw_vector(const adamw_span *u, uint16_t *low, int64_t i,
                                                               const bool whole, __mmask16 these)
{
#define LOAD(from)      (whole ? _mm512_loadu_ps(from) : _mm512_maskz_loadu_ps(these, from))
#define STORE(to, what) (whole ? _mm512_storeu_ps(to, what) : _mm512_mask_storeu_ps(to, these, what))
    __m512 w = LOAD(u->w + i), m = LOAD(u->m + i), v = LOAD(u->v + i), g = LOAD(u->g + i);
    g = _mm512_fmadd_ps(g, _mm512_set1_ps(u->scale), _mm512_mul_ps(w, _mm512_set1_ps(u->l2)));
    m = _mm512_fmadd_ps(_mm512_sub_ps(g, m), _mm512_set1_ps(u->rest1), m);
    v = _mm512_fmadd_ps(_mm512_mul_ps(g, g), _mm512_set1_ps(u->rest2), _mm512_mul_ps(v, _mm512_set1_ps(u->beta2)));
    __m512 size = _mm512_fmadd_ps(root(v), _mm512_set1_ps(u->root_scale), _mm512_set1_ps(u->eps));
    __m512 step = _mm512_mul_ps(_mm512_set1_ps(u->rate), quotient(m, size));
    w = _mm512_fmsub_ps(w, _mm512_set1_ps(u->decay), step);
    STORE(u->new_w + i, w);
    STORE(u->new_m + i, m);
    STORE(u->new_v + i, v);
    if (low && whole) _mm256_storeu_si256((__m256i *)(low + i), narrowed(w));
    if (low && !whole) _mm256_mask_storeu_epi16(low + i, these, narrowed(w));
#undef LOAD
#undef STORE
}

/* In vectors to the end, so that an element's bits do not depend on where the range is cut. */
static void adamw_lanes(const adamw_span *given, uint16_t *low, int64_t at, int64_t end)
{
    adamw_span u = *given; /* of its own, so that stores cannot change it */
    for (; at + 16 <= end; at += 16) adamw_vector(&u, low, at, true, 0);
    if (at < end) adamw_vector(&u, low, at, false, (__mmask16)((1 << (end - at)) - 1));
}
#endif

#include "ops/adamw/adamw_loop.h"

const kernel_def ISA_NAME(adamw_cpu)[] = {
    {.op = &op_adamw_def,
     .name = "adamw.simd",
     .level = LEVEL_SIMD,
     .traits = KERNEL_ROW_INVARIANT,
     .match = adamw_match,
     .launch = adamw_launch,
     .error = ERROR_POINTWISE},
    {0},
};
