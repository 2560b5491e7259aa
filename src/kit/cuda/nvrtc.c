/* Compiling source texts, and keeping what came of them. */
#define _GNU_SOURCE
#include "kit/cuda/nvrtc.h"

#include "base/kept.h"

#include <nvrtc.h>
#include <pthread.h>
#include <stdio.h>

typedef struct entry {
    char *source;
    cudaLibrary_t library;
    cudaKernel_t kernel;
} entry;

struct nvrtc_cache {
    pthread_mutex_t lock;
    ARRAY(entry) entries;
    char *folder; /* where compiled kernels are kept; NULL: nowhere */
};

nvrtc_cache *nvrtc_cache_new(const char *folder)
{
    nvrtc_cache *c = calloc(1, sizeof *c);
    if (c) pthread_mutex_init(&c->lock, NULL);
    if (c && folder) c->folder = strdup(folder);
    return c;
}

void nvrtc_cache_free(nvrtc_cache *c)
{
    if (!c) return;
    for (int64_t i = 0; i < c->entries.count; i++) {
        cudaLibraryUnload(c->entries.at[i].library);
        free(c->entries.at[i].source);
    }
    ARRAY_FREE(&c->entries);
    free(c->folder);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

status cuda_check(context *ctx, cudaError_t error, const char *doing)
{
    if (error == cudaSuccess) return INGOT_OK;
    (void)cudaGetLastError(); /* said here, so not again after the next launch */
    status code = error == cudaErrorMemoryAllocation ? INGOT_ERROR_MEMORY : INGOT_ERROR_DEVICE;
    return ingot_fail(ctx, code, "cuda: %s: %s", doing, cudaGetErrorString(error));
}

static status compile_failed(context *ctx, nvrtcProgram program, nvrtcResult result)
{
    size_t size = 0;
    nvrtcGetProgramLogSize(program, &size);
    char *log = calloc(size + 1, 1);
    if (log) nvrtcGetProgramLog(program, log);
    status s = ingot_fail(ctx, INGOT_ERROR_DEVICE, "cuda: a kernel does not compile (%s): %.600s",
                          nvrtcGetErrorString(result), log ? log : "");
    free(log);
    return s;
}

static status load(context *ctx, const void *cubin, const char *name, entry *out)
{
    TRY(cuda_check(ctx, cudaLibraryLoadData(&out->library, cubin, NULL, NULL, 0, NULL, NULL, 0), "loading a kernel"));
    status s = cuda_check(ctx, cudaLibraryGetKernel(&out->kernel, out->library, name), "finding a kernel");
    if (s) cudaLibraryUnload(out->library);
    return s;
}

static status load_program(context *ctx, nvrtcProgram program, const char *folder, const kept_key *key,
                           const char *name, entry *out)
{
    size_t size = 0;
    nvrtcResult result = nvrtcGetCUBINSize(program, &size);
    char *cubin = result ? NULL : malloc(size);
    if (!cubin) return result ? compile_failed(ctx, program, result) : fail_memory(ctx, "a kernel", size);
    nvrtcGetCUBIN(program, cubin);
    status s = load(ctx, cubin, name, out);
    if (!s && folder) kept_write(ctx, folder, key, cubin, size);
    free(cubin);
    return s;
}

/* What was kept by an earlier run. A kernel that does not load after all is compiled. */
static bool load_kept(context *ctx, const char *folder, const kept_key *key, const char *name, entry *out)
{
    text cubin;
    if (!folder || !kept_read(ctx, folder, key, &cubin)) return false;
    bool good = !load(ctx, cubin.at, name, out);
    if (!good) (void)cudaGetLastError();
    text_free(&cubin);
    return good;
}

static status compile(context *ctx, const struct device_caps *caps, const char *source, const char *name, entry *out)
{
    char arch[32], maker[64];
    nvrtcProgram program;
    int major = 0, minor = 0;
    (void)nvrtcVersion(&major, &minor);
    snprintf(arch, sizeof arch, "--gpu-architecture=sm_%d%d", caps->major, caps->minor);
    snprintf(maker, sizeof maker, "nvrtc %d.%d %s", major, minor, arch);
    const char *folder = caps->compiled->folder;
    const kept_key key = {.kind = "kernels", .maker = maker, .source = source};
    if (load_kept(ctx, folder, &key, name, out)) return INGOT_OK;
    const char *options[] = {arch, "--std=c++17", "-fmad=true"};
    nvrtcResult result = nvrtcCreateProgram(&program, source, "ingot.cu", 0, NULL, NULL);
    if (result) return ingot_fail(ctx, INGOT_ERROR_DEVICE, "cuda: NVRTC: %s", nvrtcGetErrorString(result));
    result = nvrtcCompileProgram(program, COUNT(options), options);
    status s = result ? compile_failed(ctx, program, result) : load_program(ctx, program, folder, &key, name, out);
    nvrtcDestroyProgram(&program);
    return s;
}

status nvrtc_kernel(context *ctx, const struct device_caps *caps, const char *source, const char *name,
                    cudaKernel_t *out)
{
    nvrtc_cache *c = caps->compiled;
    pthread_mutex_lock(&c->lock);
    status s = INGOT_OK;
    int64_t at = 0;
    while (at < c->entries.count && strcmp(c->entries.at[at].source, source)) at++;
    if (at == c->entries.count) {
        entry made = {.source = strdup(source)};
        s = made.source ? compile(ctx, caps, source, name, &made) : fail_memory(ctx, "a kernel", strlen(source));
        if (!s && !ARRAY_PUSH(&c->entries, made)) s = fail_memory(ctx, "a kernel", sizeof made);
        if (s) free(made.source);
    }
    if (!s) *out = c->entries.at[at].kernel;
    pthread_mutex_unlock(&c->lock);
    return s;
}
