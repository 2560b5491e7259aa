/* CUDA C source compiled at run time, once for each text and device, and kept in a folder (base/kept.h). */
#ifndef KIT_CUDA_NVRTC_H
#define KIT_CUDA_NVRTC_H

#include "kit/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nvrtc_cache nvrtc_cache;
nvrtc_cache *nvrtc_cache_new(const char *folder); /* NULL: kernels are not kept on disk */
void nvrtc_cache_free(nvrtc_cache *c);
/* The function `name` of `source`, compiled for the device; owned by the cache. */
status nvrtc_kernel(context *ctx, const struct device_caps *caps, const char *source, const char *name,
                    cudaKernel_t *out);

#ifdef __cplusplus
}
#endif
#endif
