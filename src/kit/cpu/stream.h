/* Rows whose results are larger than the caches: written past them, so that they are not read before they are overwritten
 * (a third less traffic), with the next row on its way while this one is computed.
 *
 *     bool past = stream_past(&s->out[0]);
 *     float block[STREAM_BLOCK];
 *     for (int64_t j = 0; j < columns; j += STREAM_BLOCK) {
 *         float *to = past ? block : y + j;
 *         ...
 *         if (past) stream_block(y + j, block, n);
 *         stream_next(x + columns + j, n);
 *     }
 *     if (past) stream_end();
 */
#ifndef KIT_CPU_STREAM_H
#define KIT_CPU_STREAM_H

#include "graph/kernel.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

enum { STREAM_BLOCK = 512 };

/* Float32 that is larger than what the last cache keeps of it until somebody reads it. */
#define STREAM_BYTES (32 << 20)

static inline bool stream_past(const tensor *y)
{
    return y->dtype == INGOT_F32 && shape_count(y->shape) * (int64_t)sizeof(float) > STREAM_BYTES;
}

static inline void stream_block(float *to, const float *from, int64_t count)
{
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i < count && ((uintptr_t)(to + i) & 63); i++) to[i] = from[i];
    for (; i + 16 <= count; i += 16) _mm512_stream_ps(to + i, _mm512_loadu_ps(from + i));
#elif defined(__AVX__)
    for (; i < count && ((uintptr_t)(to + i) & 31); i++) to[i] = from[i];
    for (; i + 8 <= count; i += 8) _mm256_stream_ps(to + i, _mm256_loadu_ps(from + i));
#elif defined(__SSE2__)
    for (; i < count && ((uintptr_t)(to + i) & 15); i++) to[i] = from[i];
    for (; i + 4 <= count; i += 4) _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
#endif
    for (; i < count; i++) to[i] = from[i];
}

/* What was written past the caches is in order for other threads after this. */
static inline void stream_end(void)
{
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

/* The addresses may lie beyond the tensor: a prefetch does not fault. */
static inline void stream_next(const float *from, int64_t count)
{
    for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(from + i, 0, 2);
}

#endif
