/* Kernels and copies as the GPU ran them, by CUPTI: a library of the toolkit that is looked for when a trace is asked for.
 *
 * CUPTI records for the whole process and gives its callbacks nothing of ours, so what it has recorded is kept in one
 * place for all devices; this is the one variable that outlives a call.
 */
#define _GNU_SOURCE
#include "device/cuda/gpu.h"

#if __has_include(<cupti.h>)
#include <cupti.h>
#include <dlfcn.h>
#include <stdio.h>

static const CUpti_ActivityKind kinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                           CUPTI_ACTIVITY_KIND_MEMSET};

static struct {
    pthread_mutex_t lock;
    bool tried;
    CUptiResult (*enable)(CUpti_ActivityKind);
    CUptiResult (*disable)(CUpti_ActivityKind);
    CUptiResult (*flush)(uint32_t);
    CUptiResult (*next)(uint8_t *, size_t, CUpti_Activity **);
    device_trace recorded;
} cupti = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void CUPTIAPI give_buffer(uint8_t **buffer, size_t *size, size_t *most)
{
    enum { BYTES = 1 << 20 };
    *buffer = aligned_alloc(8, BYTES);
    *size = *buffer ? BYTES : 0;
    *most = 0;
}

static void record(const char *name, bool is_copy, int lane, uint64_t begin, uint64_t end)
{
    device_event e = {.is_copy = is_copy, .lane = lane, .begin_ns = (int64_t)begin, .end_ns = (int64_t)end};
    snprintf(e.name, sizeof e.name, "%s", name);
    (void)ARRAY_PUSH(&cupti.recorded.events, e);
}

/* "_Z6arrive6staged" is arrive: the name, without the types of its arguments. */
static void record_kernel(const CUpti_ActivityKernel10 *k)
{
    char plain[96];
    int length = 0, digits = 0;
    const char *name = k->name ? k->name : "kernel";
    if (sscanf(name, "_Z%d%n", &length, &digits) == 1 && length > 0 && strlen(name + digits) >= (size_t)length) {
        snprintf(plain, sizeof plain, "%.*s", length, name + digits);
        name = plain;
    }
    record(name, false, (int)k->streamId, k->start, k->end);
}

static void record_copy(const CUpti_ActivityMemcpy6 *m)
{
    bool in = m->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_HTOD, out = m->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_DTOH;
    record(in    ? "copy host to device"
           : out ? "copy device to host"
                 : "copy within the device",
           in || out, (int)m->streamId, m->start, m->end);
}

static void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid)
{
    (void)context, (void)stream, (void)size;
    CUpti_Activity *at = NULL;
    while (cupti.next(buffer, valid, &at) == CUPTI_SUCCESS) {
        const CUpti_ActivityMemset4 *fill = (const void *)at;
        if (at->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) record_kernel((const void *)at);
        if (at->kind == CUPTI_ACTIVITY_KIND_MEMCPY) record_copy((const void *)at);
        if (at->kind == CUPTI_ACTIVITY_KIND_MEMSET) record("fill", false, (int)fill->streamId, fill->start, fill->end);
    }
    free(buffer);
}

static void *open_library(void)
{
    static const char *const names[] = {"libcupti.so.13", "libcupti.so.12", "libcupti.so",
                                        "/usr/local/cuda/lib64/libcupti.so",
                                        "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so"};
    void *library = NULL;
    for (size_t i = 0; i < COUNT(names) && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

static bool load(void)
{
    if (cupti.tried) return cupti.next != NULL;
    cupti.tried = true;
    void *library = open_library();
    if (!library) return false;
    CUptiResult (*callbacks)(CUpti_BuffersCallbackRequestFunc, CUpti_BuffersCallbackCompleteFunc);
    *(void **)&callbacks = dlsym(library, "cuptiActivityRegisterCallbacks");
    *(void **)&cupti.enable = dlsym(library, "cuptiActivityEnable");
    *(void **)&cupti.disable = dlsym(library, "cuptiActivityDisable");
    *(void **)&cupti.flush = dlsym(library, "cuptiActivityFlushAll");
    *(void **)&cupti.next = dlsym(library, "cuptiActivityGetNextRecord");
    bool good = callbacks && cupti.enable && cupti.disable && cupti.flush && cupti.next &&
                callbacks(give_buffer, take_buffer) == CUPTI_SUCCESS;
    if (!good) cupti.next = NULL;
    return good;
}

static status begin(device *d)
{
    if (!load())
        return ingot_fail(d->ctx, INGOT_ERROR_UNSUPPORTED,
                          "no trace of the GPU: libcupti of the CUDA toolkit is not here, or may not be used");
    cupti.recorded.events.count = 0;
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (cupti.enable(kinds[i]) != CUPTI_SUCCESS)
            return ingot_fail(d->ctx, INGOT_ERROR_UNSUPPORTED, "no trace of the GPU: the driver does not allow it");
    return INGOT_OK;
}

static void end(device_trace *out)
{
    cupti.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    for (size_t i = 0; i < COUNT(kinds); i++) cupti.disable(kinds[i]);
    *out = cupti.recorded;
    cupti.recorded = (device_trace){0};
}

status cuda_trace(device *d, device_trace *out)
{
    TRY(d->def->sync(d));
    pthread_mutex_lock(&cupti.lock);
    status s = out ? INGOT_OK : begin(d);
    if (out) end(out);
    pthread_mutex_unlock(&cupti.lock);
    return s;
}
#else
status cuda_trace(device *d, device_trace *out)
{
    (void)out;
    return ingot_fail(d->ctx, INGOT_ERROR_UNSUPPORTED, "no trace of the GPU: this build had no header of CUPTI");
}
#endif
