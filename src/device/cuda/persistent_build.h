/* A persistent launch under construction: stages in intervals, and where values lie (persistent_build.c). */
#ifndef DEVICE_CUDA_PERSISTENT_BUILD_H
#define DEVICE_CUDA_PERSISTENT_BUILD_H

#include "graph/spans.h"
#include "device/device.h"
#include "kit/cuda/stage.h"

/* What a stage of this launch wrote, and where it still lies in shared memory. */
typedef struct made {
    span at;
    int64_t interval, count;
    uint32_t local;
    stage_spread spread;
    ingot_dtype dtype;
    int stage, operand; /* of the interval: who wrote it */
    int64_t taken_in;   /* the interval whose stages find it taken from other blocks; -1: none */
    uint32_t taken;     /* there */
} made;

/* What a stage of the last interval reads or writes. */
typedef struct touch {
    span at;
    int64_t count;
    bool writes, sliced;
} touch;

typedef struct stage_builder {
    const device_caps *caps;
    int blocks;
    int64_t steps; /* that are in */
    ARRAY(stage_interval) intervals;
    ARRAY(stage_weights) weights;
    ARRAY(stage_code) code;
    ARRAY(stage_constant) constants;
    ARRAY(made) made;
    ARRAY(touch) touched; /* since the last barrier */
    ARRAY(span) written;  /* by any stage */
    const step
        *scatter[STAGES_TOGETHER]; /* of the last interval: which step that is, of stages that are a STAGE_SCATTER */
    int stages, tiles;             /* of the last interval; of its last stage, where that is a STAGE_PRODUCTS */
    int counted;                   /* the most counters that a stage wants */
    uint32_t tagged;               /* units of STAGE_TAGGED */
    uint32_t whole, slices,
        kept;                 /* the next free bytes of shared memory: of this interval, for slices, for constants */
    ingot_dtype dtype;        /* that its stages compute with */
    bool dtype_known, failed; /* failed: no memory */
} stage_builder;

void stage_builder_begin(stage_builder *b, const device_caps *caps, int blocks);
void stage_builder_free(stage_builder *b);
/* false: it cannot take part, or has no room in this launch any more; then nothing has changed. */
bool stage_builder_add(stage_builder *b, const step *s);

/* ---- for the files that build ---- */

/* Nothing; the block's threads; values of other blocks; all blocks; another launch. */
typedef enum need { NEED_NOTHING, NEED_SYNC, NEED_TAKE, NEED_BARRIER, NEED_ANOTHER } need;

#define PUSH(b, array, ...)                                                                                            \
    do {                                                                                                               \
        if (!ARRAY_PUSH(&(b)->array, __VA_ARGS__)) (b)->failed = true;                                                 \
    } while (0)

static inline int64_t stage_rounded(int64_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

static inline need stage_worse(need a, need b)
{
    return a > b ? a : b;
}

/* persistent_needs.c */
const made *stage_find_made(const stage_builder *b, const tensor *t);
bool stage_is_written(const stage_builder *b, span at);
bool stage_is_constant(const stage_builder *b, const tensor *t); /* a few integers that this launch does not write */
/* Where an input is read: shared memory, where this block has it. `but`: writes to memory that begins there do not count. */
need stage_find_input(const stage_builder *b, const tensor *t, bool sliced, const void *but, stage_operand *out);
need stage_find_inputs(const stage_builder *b, const step *s, const stage_offer *o, stage *to);
need stage_need_of_outputs(const stage_builder *b, const step *s, const stage_offer *o);

/* persistent_build.c */
void stage_begin_interval(stage_builder *b, bool barrier);
int64_t stage_whole_bytes(const step *s, const stage_offer *o, const stage *to); /* of shared memory, for its values */

/* persistent_take.c: an interval with room for the step, with what it takes of other blocks in it. */
need stage_make_room(stage_builder *b, const step *s, const stage_offer *o);

#endif
