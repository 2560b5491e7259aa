// Attention in tiles of 16-bit numbers (Dao 2023): what a warp knows of its MT * 16 queries while it walks over keys. Scores,
// probabilities and running sums never leave its registers.
#ifndef KIT_CUDA_FLASH_CUH
#define KIT_CUDA_FLASH_CUH

#include "kit/cuda/mma.cuh"

constexpr float LOG2_E = 1.4426950408889634f;

// A thread has two rows of each 16: h = 0 and 1, eight apart. `sum` is of its own columns until it is asked for.
template <int WIDTH, int MT> struct attended {
    float o[MT][WIDTH / 8][4], max[MT][2], sum[MT][2];

    __device__ __forceinline__ attended() : o{}, sum{}
    {
#pragma unroll
        for (int m = 0; m < MT; m++) max[m][0] = max[m][1] = -INFINITY;
    }
};

// Scores of BN keys, -INFINITY where one is not seen, and their values' tile. c: what scores are multiplied by, times LOG2_E.
// P: by_warps.
template <typename P, int WIDTH, int BN, int MT, typename T>
__device__ __forceinline__ void attend_keys(attended<WIDTH, MT> &r, float (&s)[MT][BN / 8][4], const T *values, float c)
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float top = r.max[m][h];
#pragma unroll
            for (int j = 0; j < BN / 8; j++) top = fmaxf(top, fmaxf(s[m][j][2 * h], s[m][j][2 * h + 1]));
            top = quad_max(top);
            float base = top == -INFINITY ? 0 : top * c, shrink = exp2_approx(r.max[m][h] * c - base), part = 0;
            r.max[m][h] = top;
#pragma unroll
            for (int j = 0; j < BN / 8; j++)
#pragma unroll
                for (int i = 2 * h; i < 2 * h + 2; i++) {
                    s[m][j][i] = exp2_approx(s[m][j][i] * c - base);
                    part += s[m][j][i];
                }
            r.sum[m][h] = r.sum[m][h] * shrink + part;
#pragma unroll
            for (int d = 0; d < WIDTH / 8; d++) {
                r.o[m][d][2 * h] *= shrink;
                r.o[m][d][2 * h + 1] *= shrink;
            }
        }
    P::template by<WIDTH, BN>(r.o, s, values);
}

// Row h of a result, times `scale`, by the four threads that have it.
template <typename T, int WIDTH>
__device__ __forceinline__ void store_row(T *to_row, const float (&y)[WIDTH / 8][4], int h, int dim, float scale)
{
#pragma unroll
    for (int d = 0; d < WIDTH / 8; d++) {
        int column = d * 8 + (int)threadIdx.x % 4 * 2;
        float left = y[d][2 * h] * scale, right = y[d][2 * h + 1] * scale;
        if (dim % 2 == 0 && column < dim) {
            *reinterpret_cast<uint32_t *>(to_row + column) = pair<T>(left, right);
        } else {
            if (column < dim) to_row[column] = to<T>(left);
            if (column + 1 < dim) to_row[column + 1] = to<T>(right);
        }
    }
}

#endif
