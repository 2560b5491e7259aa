/* The numbers of rope as a stage; two steps with one position, table and head size are one stage. */
#ifndef OPS_ROPE_ROPE_STAGE_CUDA_H
#define OPS_ROPE_ROPE_STAGE_CUDA_H

enum {
    ROPE_HEADS,
    ROPE_MORE_HEADS, /* of the other x; 0: there is none */
    ROPE_DIM,
    ROPE_TURNED,
    ROPE_POSITIONS,
    ROPE_INTERLEAVED,
    ROPE_INVERSE
};

enum { ROPE_MORE = 3 }; /* the operand that is the other x */

#endif
