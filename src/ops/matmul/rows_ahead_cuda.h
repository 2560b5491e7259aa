/* A few rows times a matrix stored by output, read ahead: of matmul, and of rows_linear with what stands before and behind it. */
#ifndef OPS_MATMUL_ROWS_AHEAD_CUDA_H
#define OPS_MATMUL_ROWS_AHEAD_CUDA_H

#include "kit/cuda/cuda.h"

enum { ROWS_AHEAD_MOST = 8 };

/* y (m, outputs) = (c +) end(norm(x) w^T), x (m, k), w (outputs, k), of swiglu (2 outputs, k). */
typedef struct rows_ahead_job {
    void *y;
    const void *x, *w;
    const void *gain;     /* (k) of a norm, or NULL */
    const void *c;        /* or NULL; as y */
    bool gain_wide, wide; /* the gain is float32; y and c are */
    bool swiglu, rests;   /* rests: no step before this one writes w or gain */
    int m, k;
    int64_t outputs;
    float eps;
    int each; /* chosen by the launch: tiles of outputs of a block */
} rows_ahead_job;

bool rows_ahead_takes(int64_t m, int64_t k, int64_t outputs, ingot_dtype d);
/* With so many blocks a multiprocessor. */
void rows_ahead_launch(rows_ahead_job job, ingot_dtype d, queue *q, int blocks);

#endif
