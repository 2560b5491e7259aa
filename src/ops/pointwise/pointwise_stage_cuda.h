/* The numbers of a pointwise program as a stage. */
#ifndef OPS_POINTWISE_POINTWISE_STAGE_CUDA_H
#define OPS_POINTWISE_POINTWISE_STAGE_CUDA_H

enum {
    POINTWISE_FIRST,      /* its first instruction, of the launch's */
    POINTWISE_COUNT,      /* how many */
    POINTWISE_RESULT,     /* + o: the slot of output o, of up to four */
    POINTWISE_SCALARS = 6 /* bit i: input i is one element for all */
};

#endif
