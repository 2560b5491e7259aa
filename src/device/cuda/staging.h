/* Where a staging's buffers lie, for its kernels. */
#ifndef DEVICE_CUDA_STAGING_H
#define DEVICE_CUDA_STAGING_H

#include "graph/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct staged {
    char *memory;           /* the piece that steps see */
    char *host, *beside;    /* slots * stride bytes each: page-locked, which kernels can write, and on the device */
    int64_t stride, pieces; /* pieces: of 4 bytes */
    int slots;
    int *counter; /* on the device: the buffer that is next, and blocks that are done with this one */
} staged;

const staged *staging_places(const void *of); /* a staging of device/cuda/staging.c */
extern const kernel_def staging_arrive, staging_leave;

#ifdef __cplusplus
}
#endif
#endif
