/* Loops over tensors that lie anyhow: dims that every tensor walks in one stride are joined, then rows are visited one by
 * one with each tensor's offset at the row's start.
 *
 *     strided_loop l = strided_make(&out->shape, tensors, count);         // tensors broadcast to out's shape
 *     for (int64_t row = 0; row < l.rows; row++) {
 *         int64_t at[STRIDED_MAX];
 *         strided_row(&l, row, at);                                       // then l.length elements, l.inner[i] apart
 *     }
 */
#ifndef GRAPH_STRIDED_H
#define GRAPH_STRIDED_H

#include "graph/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STRIDED_MAX 12

typedef struct strided_loop {
    int tensors;
    int64_t rank; /* of the outer dims */
    int64_t dim[INGOT_MAX_RANK];
    int64_t stride[STRIDED_MAX][INGOT_MAX_RANK]; /* elements; 0 where broadcast */
    int64_t rows, length, inner[STRIDED_MAX];
} strided_loop;

strided_loop strided_make(const shape *over, const tensor *const *tensors, int count);

static inline void strided_row(const strided_loop *l, int64_t row, int64_t *at)
{
    for (int t = 0; t < l->tensors; t++) at[t] = 0;
    for (int64_t i = l->rank - 1; i >= 0; i--) {
        int64_t index = row % l->dim[i];
        row /= l->dim[i];
        for (int t = 0; t < l->tensors; t++) at[t] += index * l->stride[t][i];
    }
}

#ifdef __cplusplus
}
#endif

#endif
