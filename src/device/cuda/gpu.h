/* The CUDA device's own, for the files of this folder. */
#ifndef DEVICE_CUDA_GPU_H
#define DEVICE_CUDA_GPU_H

#include "device/cuda/staging.h"
#include "device/device.h"
#include "kit/cuda/nvrtc.h"

#include <pthread.h>

typedef struct gpu {
    struct device_caps caps;
    queue queue;
    cudaStream_t copies;  /* of batches, beside the steps */
    pthread_mutex_t lock; /* capture and launch, of several threads */
    bool step_by_step;
    int rowwise;      /* chains of at least so many rowwise steps are one launch; 0: none */
    char running[64]; /* the program that was submitted last */
    status failed;
    char message[512];
} gpu;

/* The first error of the device is kept, and given again by whatever asks next. */
status gpu_stick(device *d, status s);
status gpu_still_good(device *d);
status gpu_check(device *d, cudaError_t error, const char *doing);
/* Waits for an event, and counts it where there is something to wait for. */
status gpu_wait_for(device *d, cudaEvent_t event);

extern const staging_def cuda_staging;           /* staging.c */
status cuda_trace(device *d, device_trace *out); /* trace.c */

#endif
