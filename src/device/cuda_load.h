/* The CUDA device before its module is loaded. */
#ifndef DEVICE_CUDA_LOAD_H
#define DEVICE_CUDA_LOAD_H

#include "device/device.h"

extern const device_def device_cuda;

#endif
