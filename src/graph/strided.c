/* Joining dims that all tensors walk in one stride. */
#include "graph/strided.h"

static int64_t stride_over(const tensor *t, const shape *over, int64_t axis)
{
    int64_t own = axis - (over->rank - t->shape.rank);
    return own < 0 || (t->shape.dim[own] == 1 && over->dim[axis] != 1) ? 0 : t->stride[own];
}

strided_loop strided_make(const shape *over, const tensor *const *tensors, int count)
{
    strided_loop l = {.tensors = count, .rows = 1, .length = 1};
    int64_t rank = 0, dim[INGOT_MAX_RANK], stride[STRIDED_MAX][INGOT_MAX_RANK];
    for (int64_t axis = 0; axis < over->rank; axis++) {
        if (over->dim[axis] == 1) continue;
        bool joins = rank > 0;
        for (int t = 0; t < count && joins; t++)
            joins = stride[t][rank - 1] == stride_over(tensors[t], over, axis) * over->dim[axis];
        rank += !joins;
        dim[rank - 1] = joins ? dim[rank - 1] * over->dim[axis] : over->dim[axis];
        for (int t = 0; t < count; t++) stride[t][rank - 1] = stride_over(tensors[t], over, axis);
    }
    if (rank == 0) return l;
    l.rank = rank - 1;
    l.length = dim[rank - 1];
    for (int t = 0; t < count; t++) l.inner[t] = stride[t][rank - 1];
    for (int64_t i = 0; i < l.rank; i++) {
        l.dim[i] = dim[i];
        l.rows *= dim[i];
        for (int t = 0; t < count; t++) l.stride[t][i] = stride[t][i];
    }
    return l;
}
