/* Capturing a program's steps as one CUDA graph. */
#ifndef DEVICE_CUDA_GRAPH_H
#define DEVICE_CUDA_GRAPH_H

#include "device/cuda/persistent.h"

/* `launch` puts the steps of a work into the queue's stream, a run of `persistent` is one launch; the graph is the caller's to destroy.
 * `overlap`: kernels of KERNEL_WAITS may be launched while kernels before them run. */
status graph_capture(device *d, const work *w, const persistent *p, queue *q,
                     status (*launch)(device *d, const work *one), bool overlap, cudaGraph_t *out);

#endif
