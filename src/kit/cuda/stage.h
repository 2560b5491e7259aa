/* Stages: what the steps of a program become inside one persistent launch.
 *
 * A persistent launch is one block on every multiprocessor, and all of them walk the same list of intervals of up to
 * STAGES_TOGETHER stages. A barrier of the whole grid costs as much as a launch, so there is one only where nothing else
 * will do. What avoids it is that most results of decoding are a few kilobytes:
 *
 *     STAGE_SLICED   block b of G makes the elements [b n / G, (b+1) n / G) of the output and keeps them in its shared
 *                    memory. Who reads the same slice of as many elements (a sum, an activation) waits for nobody else.
 *     STAGE_WHOLE    every block makes all of the output for itself, in its shared memory: a norm, rotary positions.
 *     STAGE_ITEMS    anybody writes anything.
 *
 * Who reads the whole of what was made in slices or by items has a STAGE_TAKE before: makers write each element beside the
 * launch's tag in one word, and every block reads the words until all have the tag. One layer of a llama is then
 *
 *     take x, norm, products q k v | take q k v, rotary positions, attention, rows to the cache | take o, product, sum |
 *     take x, norm, products gate up, activation | take h, product, sum
 *
 * A kernel that can take part has a `stage` callback, which says how in a stage_offer; device/cuda/persistent_build.c decides
 * what lies where and who waits for whom. Weights of products do not pass through operands: they are a list of their own,
 * which each warp reads far ahead of the stage that it is in (kit/cuda/stage.cuh).
 */
#ifndef KIT_CUDA_STAGE_H
#define KIT_CUDA_STAGE_H

#include "kit/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum stage_kind {
    STAGE_NONE,
#define STAGE(kind, function) STAGE_##kind,
#include "kit/cuda/stages.def"
#undef STAGE
} stage_kind;

typedef enum stage_spread { STAGE_ITEMS, STAGE_SLICED, STAGE_WHOLE } stage_spread;

enum {
    STAGE_INPUTS = 8,
    STAGE_OPERANDS = 12, /* inputs, then outputs and what else a kind names */
    STAGE_NUMBERS = 12,
    STAGES_TOGETHER = 8,
    STAGE_WARPS = 16,
    STAGE_THREADS = 32 * STAGE_WARPS,
    STAGE_SIDE_BY_SIDE = 4, /* of one left side, side by side */
    STAGE_CODE = 24,        /* instructions of a pointwise program */
    STAGE_NORM = 8 * STAGE_THREADS
};

#define STAGE_GLOBAL 0xffffffffu
#define STAGE_TAGGED 256 /* bytes */

/* Where an operand lies: in global memory, in the block's shared memory, or, of outputs, in both. */
typedef struct stage_operand {
    void *at;       /* NULL: not in global memory, or not there at all */
    uint32_t local; /* bytes from the begin of shared memory; STAGE_GLOBAL: not there */
    uint8_t dtype;
    uint8_t sliced;  /* only this block's slice is there */
    uint16_t tagged; /* where it lies with tags, in units of STAGE_TAGGED from the launch's first; 0: nowhere */
} stage_operand;

typedef struct stage {
    uint8_t kind, sync; /* sync: the block's threads wait for each other first */
    uint8_t inputs, outputs;
    uint8_t counters; /* an operand of unsigneds, 0 before and after the stage; 0: none */
    int32_t count;    /* elements of an output; columns of a product's left side */
    int32_t number[STAGE_NUMBERS];
    float scale;
    stage_operand operand[STAGE_OPERANDS];
} stage;

/* Between two barriers; the first kind of STAGE_NONE ends it. Whole packs of 16 bytes. */
typedef struct stage_interval {
    stage stages[STAGES_TOGETHER];
    int32_t barrier; /* the grid waits for itself before */
    int32_t spare[3];
} stage_interval;

/* One matrix (rows, packs * 16 bytes), in the order in which stages multiply by it; a row is 1 << shift pieces. */
typedef struct stage_weights {
    const void *at;
    int32_t rows;
    uint16_t packs, shift;
} stage_weights;

enum { STAGE_MOST_PACKS = 65535 };

static inline int stage_shift(int64_t packs)
{
    int shift = 0;
    while ((packs >> shift) > 128 || ((packs + (1 << shift) - 1) >> shift) > 128) shift++;
    return shift;
}

/* An instruction of a pointwise program: pw_instr, shorter. */
typedef struct stage_code {
    uint8_t code, a, b, c;
    float value;
} stage_code;

/* Small inputs that nothing in the launch writes, kept in shared memory from the beginning. */
typedef struct stage_constant {
    const void *from;
    uint32_t to, bytes;
} stage_constant;

/* What shared memory holds, in bytes from its begin. */
enum {
    STAGE_SLOT = 2048, /* of weights: 64 bytes a lane */
    STAGE_SLOTS = 4,   /* of a warp on their way */
    STAGE_AT_WEIGHTS = 0,
    STAGE_AT_WORK = STAGE_AT_WEIGHTS + STAGE_WARPS * STAGE_SLOTS * STAGE_SLOT, /* sums of tiles and of warps */
    STAGE_WORK = 18432,
    STAGE_AT_WHOLE = STAGE_AT_WORK + STAGE_WORK, /* values of one interval */
    STAGE_WHOLE_BYTES = 32768,
    STAGE_AT_SLICES = STAGE_AT_WHOLE + STAGE_WHOLE_BYTES, /* slices, for the whole launch */
    STAGE_SLICES = 12288,
    STAGE_AT_CONSTANTS = STAGE_AT_SLICES + STAGE_SLICES,
    STAGE_CONSTANTS = 1024,
    STAGE_AT_CODE = STAGE_AT_CONSTANTS + STAGE_CONSTANTS,
    STAGE_CODE_BYTES = 2048,
    STAGE_AT_LIST = STAGE_AT_CODE + STAGE_CODE_BYTES, /* of weights */
    STAGE_MATRICES = 256,
    STAGE_AT_ROWS = STAGE_AT_LIST + STAGE_MATRICES * 16,     /* this block's, of each */
    STAGE_AT_INTERVALS = STAGE_AT_ROWS + STAGE_MATRICES * 8, /* this one and the next */
    STAGE_MEMORY = STAGE_AT_INTERVALS + 2 * (int)sizeof(stage_interval)
};

/* A launch, in device memory. */
typedef struct stage_launch {
    const stage_interval *intervals;
    const stage_weights *weights;
    const stage_code *code;
    const stage_constant *constants;
    unsigned *barrier; /* arrived, left: 0 before and after; which launch this is */
    char *tagged;
    int32_t interval_count, weight_count, code_count, constant_count, dtype;
} stage_launch;

/* What a kernel's `stage` says of a step. Of operands the device fills in those that are the step's inputs (the first
 * stage.inputs) and outputs (the first stage.outputs, from STAGE_INPUTS on); the others are the callback's. */
typedef struct stage_offer {
    stage stage;
    ingot_dtype dtype;     /* that the stage computes with; INGOT_F32 of a STAGE_POINTWISE: goes with any */
    stage_spread spread;   /* of the outputs */
    unsigned sliced;       /* bit i: of input i a block reads its own slice only */
    bool in_place;         /* input 0 is the output's memory, and is not read */
    const tensor *weights; /* STAGE_PRODUCTS: the matrix (rows, stage.count) */
    stage_code code[STAGE_CODE];
    int code_count;
    /* By input: the operand that may be read in place of the row of it that a STAGE_SCATTER of the same interval overwrites,
     * and the operand that says which row that is; 0: none. */
    uint8_t own_row[STAGE_INPUTS], own_slot;
    int counted; /* what stage.counters names */
} stage_offer;

#ifdef __cplusplus
}
#endif
#endif
