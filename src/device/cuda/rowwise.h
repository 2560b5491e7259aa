/* Rowwise launches: steps of many rows, in which each row of a result comes from the same row of what is read, as one launch.
 *
 * On a transformer's way forward all but attention is such: norms, products with weights, sums, activations, rotary
 * positions. (The way back too, but there such launches were no faster than their steps.) A block takes ROWWISE_ROWS rows
 * through a whole chain of steps; nobody waits for another block. What passes from step to step lies in shared memory, each
 * row where the tensor has it (rowwise_place.c); it is written to memory too, where others read it. Where a model is so small that its launches last as long as it takes to start them, a
 * chain of eight takes little more than one. (stage.h is for one row and large weights: there, blocks share a row.)
 */
#ifndef DEVICE_CUDA_ROWWISE_H
#define DEVICE_CUDA_ROWWISE_H

#include "device/device.h"
#include "kit/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rowwise_kind {
    ROWWISE_NORM,    /* in: x, out: y, rstds (or none) */
    ROWWISE_PRODUCT, /* in: left side, what is added (or none); out: y */
    ROWWISE_ROPE,    /* in: x, positions; out: y */
    ROWWISE_SWIGLU   /* in: gate, up; out: y */
} rowwise_kind;

enum {
    ROWWISE_ROWS = 16,
    ROWWISE_STAGES = 12, /* of a launch */
    ROWWISE_INPUTS = 2,
    ROWWISE_OUTPUTS = 2,
    ROWWISE_COLUMNS = 512, /* of a norm, at most */
    ROWWISE_DEPTH = 1024,  /* of a product's sums, at most */
    ROWWISE_FETCHES = 20   /* of a launch */
};

/* How the warps of a block divide a product with weights (columns, depth). Each makes strips of columns, tile by tile of the
 * depth; of few strips several warps share the sums of one. */
enum { ROWWISE_WIDE = 16, ROWWISE_DEEP = 64 };

#ifdef __CUDACC__
__host__ __device__
#endif
    static inline int
    rowwise_parts(int strips, int tiles)
{
    int parts = ROWWISE_ROWS / strips; /* a warp a row */
    return parts < 1 ? 1 : parts > tiles ? tiles : parts;
}

/* Row r begins at `at` + r * pitch; a block has its rows at `local` + r * local_pitch of its shared memory. All in bytes. */
typedef struct rowwise_rows {
    void *at; /* NULL: not given */
    int32_t pitch, bytes;
    int32_t local, local_pitch;
} rowwise_rows;

typedef struct rowwise_stage {
    rowwise_rows in[ROWWISE_INPUTS], out[ROWWISE_OUTPUTS];
    const void *weights;   /* of a product; gains of a norm; the table of rotary positions */
    int64_t weights_pitch; /* of a product, in elements */
    int32_t kind, columns; /* columns: of a result; of a rotation, of a head */
    int32_t depth;         /* of a product; heads of a rotation */
    int32_t positions;     /* of the table */
    int32_t wide;          /* gains or table are float32 */
    int32_t work;          /* of a product: where it has float32 in shared memory */
    int32_t gains;         /* where gains lie, or rows of the table by row */
    int32_t gains_pitch;   /* of the latter */
    int32_t waits;         /* what it writes may still be on its way out to memory */
    float eps;
} rowwise_stage;

/* What a block brings into its shared memory before all else: its rows, or one row for all. */
typedef struct rowwise_fetch {
    const void *at;
    const int32_t *index; /* row r is number index[r] of `count`, zeros if there is no such; NULL: r itself */
    int32_t pitch, bytes;
    int32_t local, local_pitch;
    int32_t count;
    int32_t alone; /* one for all */
} rowwise_fetch;

typedef struct rowwise_launch {
    int32_t stages, fetches, blocks;
    int32_t bytes;          /* of values in shared memory */
    int32_t early;          /* nothing in flight changes the weights: they may be read before all else is there */
    int32_t at_once;        /* of the fetches: those behind them are by an index */
    int32_t stage_of_index; /* in front of which those are asked for */
    int32_t unused;
    rowwise_fetch fetch[ROWWISE_FETCHES];
    rowwise_stage stage[ROWWISE_STAGES];
} rowwise_launch;

enum { ROWWISE_STEPS = 24 };

typedef struct rowwise_run {
    int64_t steps[ROWWISE_STEPS]; /* of the work, in order; others may lie between */
    int count;
    ingot_dtype dtype;
    rowwise_launch launch;
} rowwise_run;

typedef struct rowwise {
    ARRAY(rowwise_run) runs;
} rowwise;

/* Those of `w` with `least` stages or more; `taken`: by step, whether it is in another launch already, and what comes to be. */
status rowwise_find(device *d, const work *w, int least, bool *taken, rowwise *out);
void rowwise_free(rowwise *r);
/* The run that a step is in; NULL: none. */
const rowwise_run *rowwise_with(const rowwise *r, int64_t step);

/* rowwise_place.c: where the rows of its stages lie in `room` bytes of shared memory; false: they have no room there. */
bool rowwise_place(rowwise_launch *l, int room);

/* rowwise_kernel.cu: the bytes that a block's values may have, 0 where there is no room for a block; the launch. */
int rowwise_room(void);
cudaError_t rowwise_start(const rowwise_run *run, const queue *q);

#ifdef __cplusplus
}
#endif
#endif
