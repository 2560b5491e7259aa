/* The CUDA device as this program sees it: a module that is opened when it is asked for, so that one build runs on machines
 * with and without a GPU. The module must be of the very same build: it shares our structs.
 */
#define _GNU_SOURCE
#include "device/cuda_load.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>

#ifndef INGOT_BUILD_STAMP
#define INGOT_BUILD_STAMP "unstamped"
#endif

/* A module that is there and does not load says why: a library of CUDA that this machine lacks, say. */
static void *open_at(const char *path, char why[512])
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char *said = module ? NULL : dlerror();
    if (said && !*why && !strstr(said, "libingot_cuda.so: cannot open")) snprintf(why, 512, "%s", said);
    return module;
}

/* Beside the program or library that holds this code, then where the system's loader looks. */
static void *open_module(char why[512])
{
    Dl_info here;
    char path[PATH_MAX];
    void *module = NULL;
    if (dladdr((void *)(uintptr_t)&device_table, &here) && here.dli_fname) {
        const char *slash = strrchr(here.dli_fname, '/');
        int folder = slash ? (int)(slash - here.dli_fname) : 1;
        snprintf(path, sizeof path, "%.*s/libingot_cuda.so", folder, slash ? here.dli_fname : ".");
        module = open_at(path, why);
        if (module) return module;
        snprintf(path, sizeof path, "%.*s/../lib/libingot_cuda.so", folder, slash ? here.dli_fname : ".");
        module = open_at(path, why);
    }
    return module ? module : open_at("libingot_cuda.so", why);
}

static status open_cuda(context *ctx, const ingot_device_options *options, device *d)
{
    char why[512] = "";
    void *module = open_module(why);
    const char *lacks = strstr(why, "cannot open shared object")
                            ? "; the libraries of CUDA itself are the machine's: "
                              "install them, or name their folder in LD_LIBRARY_PATH"
                            : "";
    if (!module)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "no CUDA here: %s%s",
                          *why ? why : "this build has no CUDA module (./dev build --cuda makes it)", lacks);
    union { /* what dlsym gives is a function or an object */
        void *at;
        const device_def *def;
        const char *stamp;
    } stamp = {.at = dlsym(module, "ingot_cuda_stamp")}, def = {.at = dlsym(module, "ingot_cuda_device")};
    if (!stamp.at || !def.at || strcmp(stamp.stamp, INGOT_BUILD_STAMP)) {
        dlclose(module);
        return ingot_fail(
            ctx, INGOT_ERROR_UNSUPPORTED,
            "libingot_cuda.so is of another build than this program: build both again with ./dev build --cuda");
    }
    d->def = def.def;
    status s = def.def->open(ctx, options, d);
    if (s) d->def = &device_cuda;
    return s; /* the module stays loaded: CUDA does not like to leave */
}

const device_def device_cuda = {
    .name = "cuda",
    .summary = "NVIDIA GPUs",
    .open = open_cuda,
};
