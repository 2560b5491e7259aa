// What the lanes of a warp do together with matrices. Sums are of float32, in the order of the depth.
#ifndef SIMT_TENSOR_CORES_H
#define SIMT_TENSOR_CORES_H

#include <cstdint>

namespace simt
{

enum number { BF16, F16, TF32 };

// ldmatrix, stmatrix: lane l gives row l % 8 of matrix l / 8 of four.
void load_matrices(uint32_t (&r)[4], const void *row, bool transposed);
void store_matrices(void *row, const uint32_t (&r)[4]);

// mma: d (16 x 8) += a b, 16 deep, or of TF32 8 deep.
void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, number type);

// wgmma: a thread's part of y (64 x columns) = left right, 16 deep.
struct product {
    float *y; // 4 numbers of each 8 columns
    int columns;
    const uint32_t *a; // a left side in registers, else `left`
    uint64_t left, right;
    bool adds, left_turned, right_turned; // turned: by rows that are summed over
    number type;
};
void multiply_late(const product &p);
void products_commit();
void products_wait(int left);

} // namespace simt

#endif
