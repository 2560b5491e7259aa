/* A persistent launch under construction: stages in intervals, and where values lie (persistent_build.c). */
#ifndef DEVICE_CUDA_PERSISTENT_BUILD_H
#define DEVICE_CUDA_PERSISTENT_BUILD_H

#include "device/cuda/spans.h"
#include "device/device.h"
#include "kit/cuda/stage.h"

/* What a stage of this launch wrote, and where it still lies in shared memory. */
typedef struct made {
    span at;
    int64_t interval, count;
    uint32_t local;
    stage_spread spread;
    ingot_dtype dtype;
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
    ARRAY(touch) touched; /* by stages of the last interval */
    ARRAY(span) written;  /* by any stage */
    const step
        *scatter[STAGES_TOGETHER]; /* of the last interval: which step that is, of stages that are a STAGE_SCATTER */
    int stages, tiles;             /* of the last interval; of its last stage, where that is a STAGE_PRODUCTS */
    int counted;                   /* the most counters that a stage wants */
    uint32_t whole, slices,
        kept;    /* the next free bytes of shared memory: of this interval, for slices, for constants */
    bool failed; /* no memory */
} stage_builder;

void stage_builder_begin(stage_builder *b, const device_caps *caps, int blocks);
void stage_builder_free(stage_builder *b);
/* false: it cannot take part, or has no room in this launch any more; then nothing has changed. */
bool stage_builder_add(stage_builder *b, const step *s);

#endif
