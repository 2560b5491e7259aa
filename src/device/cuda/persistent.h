/* Runs of a program's steps that are one launch each: found when it is compiled, launched like one big step. */
#ifndef DEVICE_CUDA_PERSISTENT_H
#define DEVICE_CUDA_PERSISTENT_H

#include "device/cuda/rowwise.h"
#include "device/device.h"
#include "kit/cuda/stage.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Steps first .. first + count of the work, in device memory as stages. */
typedef struct persistent_run {
    int64_t first, count;
    stage_launch launch;
    int blocks;
    void *memory;
} persistent_run;

typedef struct persistent {
    ARRAY(persistent_run) runs; /* in order */
    rowwise rowwise;            /* launches of many rows, of steps that none of these has */
} persistent;

/* Those of `w`, which will run in `stream`, and those of `rowwise` steps or more of many rows, 0: none of these; none where the
 * GPU has no room for such blocks. Frees and refills *out. */
status persistent_find(device *d, const work *w, cudaStream_t stream, int rowwise, persistent *out);
void persistent_free(persistent *p);
/* The run that begins at a step, or that a step is in; NULL: none. */
const persistent_run *persistent_beginning(const persistent *p, int64_t step);
const persistent_run *persistent_with(const persistent *p, int64_t step);
/* The first of the steps that share a launch with this one; -1: it has its own. */
int64_t persistent_launch_of(const persistent *p, int64_t step);

/* persistent_kernel.cu: blocks that fit on a multiprocessor, 0 where the kernel does not; the launch itself. */
cudaError_t persistent_room(int dtype, int *blocks);
cudaError_t persistent_start(const stage_launch *l, int blocks, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
