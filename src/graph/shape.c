/* Shapes and layouts: counting, comparing, broadcasting, printing. */
#include "graph/graph.h"

#include <stdio.h>

int64_t shape_count(shape s)
{
    int64_t count = 1;
    for (int64_t i = 0; i < s.rank; i++) count *= s.dim[i];
    return count;
}

bool shape_equal(shape a, shape b)
{
    if (a.rank != b.rank) return false;
    for (int64_t i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

bool shape_broadcast(shape a, shape b, shape *out)
{
    shape r = {.rank = MAX(a.rank, b.rank)};
    for (int64_t i = 1; i <= r.rank; i++) {
        int64_t x = i <= a.rank ? a.dim[a.rank - i] : 1, y = i <= b.rank ? b.dim[b.rank - i] : 1;
        if (x != y && x != 1 && y != 1) return false;
        r.dim[r.rank - i] = x == 1 ? y : x;
    }
    *out = r;
    return true;
}

char *shape_print(char out[128], shape s)
{
    int at = snprintf(out, 128, "(");
    for (int64_t i = 0; i < s.rank && at < 120; i++)
        at += snprintf(out + at, 128 - (size_t)at, i ? ", %lld" : "%lld", (long long)s.dim[i]);
    snprintf(out + at, 128 - (size_t)at, ")");
    return out;
}

int64_t value_bytes(const value *v)
{
    return shape_count(v->shape) * ingot_dtype_bytes(v->dtype);
}

int64_t axis_of(int64_t axis, int64_t rank)
{
    if (axis < 0) axis += rank;
    return axis >= 0 && axis < rank ? axis : -1;
}

layout layout_contiguous(shape s)
{
    layout l = {0};
    int64_t stride = 1;
    for (int64_t i = s.rank - 1; i >= 0; i--) {
        l.stride[i] = stride;
        stride *= s.dim[i];
    }
    return l;
}

bool layout_is_contiguous(shape s, const layout *l)
{
    int64_t stride = 1;
    for (int64_t i = s.rank - 1; i >= 0; i--) {
        if (s.dim[i] != 1 && l->stride[i] != stride) return false;
        stride *= s.dim[i];
    }
    return true;
}

bool layout_last_contiguous(shape s, const layout *l)
{
    return s.rank == 0 || s.dim[s.rank - 1] == 1 || l->stride[s.rank - 1] == 1;
}
