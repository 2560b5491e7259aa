// Rung naive of the CUDA ladder: a thread for each element of the result, which reads a row of a and a column of b.
//
// Idea: the loop over the result is the grid. Neighbouring threads read neighbouring columns, so reads of b are whole lines;
// everything is read m or n times from the caches, and 2 FLOPs wait for 8 bytes of them.
// Expertise 2, effort 15 lines, half an hour.
#include "ops/matmul/matmul_ladder_cuda.cuh"

enum { SIDE = 16 };

template <typename T, typename U> __global__ void one_element(ladder_product<T, U> p)
{
    int i = blockIdx.y * SIDE + threadIdx.y, j = blockIdx.x * SIDE + threadIdx.x;
    float sum = 0;
    for (int at = 0; at < p.k; at++) sum += to_float(p.left(i, at)) * to_float(p.right(at, j));
    p.put(i, j, sum);
}

static status launch(const step *s, queue *q)
{
    each_product_of(s, [&](const auto &p) { one_element<<<squares(p, SIDE), dim3(SIDE, SIDE), 0, q->stream>>>(p); });
    return INGOT_OK;
}

extern "C" const kernel_def matmul_naive_cuda[] = {
    {.op = &op_matmul_def,
     .name = "matmul.naive",
     .level = LEVEL_NAIVE,
     .match = ladder_match,
     .wants = {STORAGE_STRIDED, STORAGE_STRIDED},
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
