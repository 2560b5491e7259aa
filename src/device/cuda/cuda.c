/* NVIDIA GPUs: memory, one stream, a program as one CUDA graph.
 *
 * A program's steps are captured when it is compiled and replayed by one launch (graph.c); runs of small steps are one
 * kernel of that graph (persistent.c). The first error sticks to the device: CUDA
 * itself refuses everything after it, and the message with the program's name is kept and returned again.
 */
#include "device/cuda/gpu.h"
#include "device/cuda/graph.h"
#include "kit/cuda/faults.h"

#include <stdio.h>
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define nvtx_begin(name) (void)nvtxRangePushA(name) /* a range of each run, for who looks on: nsys, Nsight */
#define nvtx_end()       (void)nvtxRangePop()
#else
#define nvtx_begin(name) (void)(name)
#define nvtx_end()       (void)0
#endif

#define KERNELS(name) extern const kernel_def name[];
#include "device/cuda/kernels.def"
#undef KERNELS

extern const kernel_def custom_cuda; /* ops/custom/custom_cuda.c */

static const kernel_def *const kernels[] = {
#define KERNELS(name) name,
#include "device/cuda/kernels.def"
#undef KERNELS
    NULL,
};

/* The least steps in a row that are one launch where nobody says how many; 0: none are. Rowwise ones from sm_90 on. */
enum { PERSISTENT_STEPS = 0, ROWWISE_CHAIN = 3 };

status gpu_stick(device *d, status s)
{
    gpu *g = d->self;
    if (s == INGOT_ERROR_DEVICE && !g->failed) {
        g->failed = s;
        snprintf(g->message, sizeof g->message, "%s", ingot_message(d->ctx));
    }
    return s;
}

status gpu_still_good(device *d)
{
    const gpu *g = d->self;
    return g->failed
               ? ingot_fail(d->ctx, g->failed, "%s (the device stopped then; close it and open it again)", g->message)
               : INGOT_OK;
}

static bool is_of_a_kernel(cudaError_t e)
{
    return e == cudaErrorIllegalAddress || e == cudaErrorMisalignedAddress || e == cudaErrorIllegalInstruction ||
           e == cudaErrorInvalidAddressSpace || e == cudaErrorInvalidPc || e == cudaErrorHardwareStackError ||
           e == cudaErrorLaunchFailure || e == cudaErrorLaunchTimeout || e == cudaErrorAssert;
}

/* A kernel went wrong after it was launched: which one is known of applications' ops, whose marks stand, and of all where
 * each was waited for. */
static status kernel_failed(device *d, cudaError_t error)
{
    gpu *g = d->self;
    const char *suspect = faults_running(g->caps.faults);
    if (suspect)
        return ingot_fail(d->ctx, INGOT_ERROR_DEVICE, "cuda: %s while the kernel of custom op %s ran, in program %s",
                          cudaGetErrorString(error), suspect, g->running);
    if (g->step_by_step) return ingot_fail(d->ctx, INGOT_ERROR_DEVICE, "cuda: %s", cudaGetErrorString(error));
    return ingot_fail(d->ctx, INGOT_ERROR_DEVICE,
                      "cuda: %s in a kernel of program %s, which ran as one submission: --step-by-step finds which",
                      cudaGetErrorString(error), g->running);
}

status gpu_check(device *d, cudaError_t error, const char *doing)
{
    if (!is_of_a_kernel(error)) return gpu_stick(d, cuda_check(d->ctx, error, doing));
    const gpu *g = d->self;
    return g->failed ? gpu_still_good(d) : gpu_stick(d, kernel_failed(d, error));
}

status gpu_wait_for(device *d, cudaEvent_t event)
{
    cudaError_t now = cudaEventQuery(event);
    if (now != cudaErrorNotReady) return gpu_check(d, now, "waiting for the GPU");
    (void)cudaGetLastError();
    device_count(&d->counts.waits, 1);
    return gpu_check(d, cudaEventSynchronize(event), "waiting for the GPU");
}

static status describe_device(context *ctx, struct device_caps *caps)
{
    struct cudaDeviceProp p;
    int count = 0, driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "no CUDA here: no NVIDIA driver");
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
        cudaError_t why = cudaGetLastError();
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "no CUDA here: %s",
                          why == cudaSuccess ? "no GPU" : cudaGetErrorString(why));
    }
    TRY(cuda_check(ctx, cudaSetDevice(caps->ordinal), "taking the GPU"));
    TRY(cuda_check(ctx, cudaGetDeviceProperties(&p, caps->ordinal), "asking for the GPU's properties"));
    caps->multiprocessors = p.multiProcessorCount;
    caps->major = p.major;
    caps->minor = p.minor;
    caps->memory_bytes = (int64_t)p.totalGlobalMem;
    caps->l2_bytes = p.l2CacheSize;
    snprintf(caps->name, sizeof caps->name, "%s", p.name);
    return INGOT_OK;
}

static void close_cuda(device *d)
{
    gpu *g = d->self;
    if (g->queue.stream) cudaStreamDestroy(g->queue.stream);
    if (g->copies) cudaStreamDestroy(g->copies);
    if (g->caps.blas) cublasLtDestroy(g->caps.blas);
    nvrtc_cache_free(g->caps.compiled);
    faults_free(g->caps.faults);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static void choose_least_steps(const ingot_device_options *options, gpu *g)
{
    bool none = options && options->row_invariant; /* such launches round otherwise */
    int asked = options ? options->persistent : 0, rowwise = g->caps.major >= 9 ? ROWWISE_CHAIN : 0;
    g->caps.persistent = none ? 0 : MAX(asked ? asked : PERSISTENT_STEPS, 0);
    g->rowwise = none ? 0 : MAX(asked ? asked : rowwise, 0);
}

static status open_gpu(context *ctx, const ingot_device_options *options, gpu *g)
{
    TRY(describe_device(ctx, &g->caps));
    TRY(cuda_check(ctx, cudaStreamCreateWithFlags(&g->queue.stream, cudaStreamNonBlocking), "making a stream"));
    TRY(cuda_check(ctx, cudaStreamCreateWithFlags(&g->copies, cudaStreamNonBlocking), "making a stream"));
    if (cublasLtCreate(&g->caps.blas)) return ingot_fail(ctx, INGOT_ERROR_DEVICE, "cuda: cublasLt does not start");
    g->caps.compiled = nvrtc_cache_new(options ? options->cache : NULL);
    g->caps.faults = faults_new();
    if (!g->caps.faults) return fail_memory(ctx, "a device", 4096);
    g->step_by_step = options && options->step_by_step;
    g->caps.tf32 = options && options->tf32;
    g->caps.overlap = g->caps.major >= 9 && !(options && options->no_overlap);
    choose_least_steps(options, g);
    return g->caps.compiled ? INGOT_OK : fail_memory(ctx, "a device", sizeof *g);
}

static status open_cuda(context *ctx, const ingot_device_options *options, device *d)
{
    gpu *g = calloc(1, sizeof *g);
    if (!g) return fail_memory(ctx, "the CUDA device", sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    d->self = g;
    status s = open_gpu(ctx, options, g);
    if (s) {
        close_cuda(d);
        return s;
    }
    g->queue.caps = &g->caps;
    d->caps = &g->caps;
    d->kernels = kernels;
    d->custom = &custom_cuda;
    d->level = LEVEL_BEST;
    return INGOT_OK;
}

static status alloc(device *d, int64_t bytes, allocation *out)
{
    TRY(gpu_still_good(d));
    *out = (allocation){.bytes = bytes};
    cudaError_t error = cudaMalloc(&out->address, (size_t)MAX(bytes, 1));
    if (error != cudaErrorMemoryAllocation) return gpu_check(d, error, "taking memory");
    size_t left = 0, total = 0;
    char wanted[24], have[24];
    cudaGetLastError();
    cudaMemGetInfo(&left, &total);
    return ingot_fail(d->ctx, INGOT_ERROR_MEMORY,
                      "the GPU has %s left, %s are needed; a smaller --batch-size or --recompute needs less",
                      format_bytes(have, left), format_bytes(wanted, (uint64_t)bytes));
}

static void free_memory(device *d, allocation *a)
{
    (void)d;
    cudaFree(a->address);
    *a = (allocation){0};
}

static status write_memory(device *d, const allocation *to, int64_t offset, const void *from, int64_t bytes)
{
    const gpu *g = d->self;
    TRY(gpu_still_good(d));
    device_count(&d->counts.transfers, 1);
    return gpu_check(
        d, cudaMemcpyAsync((char *)to->address + offset, from, (size_t)bytes, cudaMemcpyHostToDevice, g->queue.stream),
        "writing memory");
}

static status sync(device *d)
{
    const gpu *g = d->self;
    TRY(gpu_still_good(d));
    device_count(&d->counts.waits, 1);
    return gpu_check(d, cudaStreamSynchronize(g->queue.stream), "waiting for the GPU");
}

static status read_memory(device *d, const allocation *from, int64_t offset, void *to, int64_t bytes)
{
    const gpu *g = d->self;
    TRY(gpu_still_good(d));
    device_count(&d->counts.transfers, 1);
    TRY(gpu_check(d,
                  cudaMemcpyAsync(to, (const char *)from->address + offset, (size_t)bytes, cudaMemcpyDeviceToHost,
                                  g->queue.stream),
                  "reading memory"));
    return sync(d);
}

/* Patterns of several bytes are laid out on the host by the megabyte and sent as often as needed. */
static status fill_pattern(device *d, const allocation *a, int64_t offset, const void *pattern, int64_t pattern_bytes,
                           int64_t bytes)
{
    int64_t piece = MIN(bytes, (int64_t)(1 << 20) / pattern_bytes * pattern_bytes);
    char *host = malloc((size_t)MAX(piece, pattern_bytes));
    if (!host) return fail_memory(d->ctx, "filling memory", (uint64_t)piece);
    for (int64_t i = 0; i < piece; i++) host[i] = ((const char *)pattern)[i % pattern_bytes];
    status s = INGOT_OK;
    for (int64_t done = 0; done < bytes && !s; done += piece)
        s = write_memory(d, a, offset + done, host, MIN(piece, bytes - done));
    if (!s) s = sync(d);
    free(host);
    return s;
}

static status fill(device *d, const allocation *a, int64_t offset, const void *pattern, int64_t pattern_bytes,
                   int64_t bytes)
{
    const gpu *g = d->self;
    TRY(gpu_still_good(d));
    if (bytes <= 0) return INGOT_OK;
    if (pattern_bytes > 1) return fill_pattern(d, a, offset, pattern, pattern_bytes, bytes);
    return gpu_check(
        d,
        cudaMemsetAsync((char *)a->address + offset, *(const unsigned char *)pattern, (size_t)bytes, g->queue.stream),
        "filling memory");
}

static void count(device *d, int64_t submissions, int64_t launches)
{
    device_count(&d->counts.submissions, submissions);
    device_count(&d->counts.launches, launches);
}

static status launch_steps(device *d, const work *w)
{
    gpu *g = d->self;
    for (int64_t i = 0; i < w->count; i++) {
        const step *s = &w->steps[i];
        status failed = s->kernel->launch(s, &g->queue);
        cudaError_t error = cudaGetLastError();
        if (!failed && error == cudaSuccess) continue;
        if (is_of_a_kernel(error)) return gpu_check(d, error, "running a program"); /* of one before it */
        return gpu_stick(d, ingot_fail(d->ctx, INGOT_ERROR_DEVICE, "cuda: kernel %s of program %s: %s", s->kernel->name,
                                       w->name, error ? cudaGetErrorString(error) : "the library refuses its shapes"));
    }
    return INGOT_OK;
}

/* A program as it is run: a graph, and the lists of its persistent launches. */
typedef struct ready {
    cudaGraphExec_t graph;
    size_t nodes;
    persistent persistent;
} ready;

static status make_ready(device *d, const work *w, bool overlap, ready *r)
{
    gpu *g = d->self;
    cudaGraph_t graph = NULL;
    status s = graph_capture(d, w, &r->persistent, &g->queue, launch_steps, overlap, &graph);
    if (!s) s = cuda_check(d->ctx, cudaGraphGetNodes(graph, NULL, &r->nodes), "making a program ready");
    if (!s) s = cuda_check(d->ctx, cudaGraphInstantiate(&r->graph, graph, 0), "making a program ready");
    if (graph) cudaGraphDestroy(graph);
    return s;
}

/* With persistent launches; a driver that refuses them in a graph gets a graph without. */
static status make_any(device *d, const work *w, bool overlap, ready *r)
{
    const gpu *g = d->self;
    TRY(persistent_find(d, w, g->queue.stream, g->rowwise, &r->persistent));
    status s = make_ready(d, w, overlap, r);
    if (!s || !(r->persistent.runs.count || r->persistent.rowwise.runs.count)) return s;
    log_line(d->ctx, INGOT_LOG_WARNING, "program %s: %s; its steps are launches of their own", w->name,
             ingot_message(d->ctx));
    (void)cudaGetLastError();
    persistent_free(&r->persistent);
    return make_ready(d, w, overlap, r);
}

/* What cannot be made ready with kernels that overlap runs without: so do drivers that know no such graphs. */
static status compile(device *d, const work *w, void **out)
{
    gpu *g = d->self;
    *out = NULL;
    TRY(gpu_still_good(d));
    if (w->count == 0) return INGOT_OK;
    ready *r = calloc(1, sizeof *r);
    if (!r) return fail_memory(d->ctx, "a program", sizeof *r);
    pthread_mutex_lock(&g->lock);
    bool overlap = g->caps.overlap;
    status s = overlap ? make_any(d, w, true, r) : INGOT_OK;
    if (s) {
        log_line(d->ctx, INGOT_LOG_WARNING, "program %s: %s; its kernels follow each other", w->name,
                 ingot_message(d->ctx));
        (void)cudaGetLastError();
        g->failed = INGOT_OK;
    }
    if (s || !overlap) s = gpu_stick(d, make_any(d, w, false, r));
    pthread_mutex_unlock(&g->lock);
    *out = r; /* dropped by the program, whatever came of it */
    return s;
}

static void drop(device *d, void *compiled)
{
    ready *r = compiled;
    (void)d;
    if (!r) return;
    if (r->graph) cudaGraphExecDestroy(r->graph);
    persistent_free(&r->persistent);
    free(r);
}

static int64_t launch_of(const void *compiled, int64_t step)
{
    const ready *r = compiled;
    return r ? persistent_launch_of(&r->persistent, step) : -1;
}

/* Every step between two events; for profiles, not for speed. */
static status run_timed(device *d, const work *w)
{
    gpu *g = d->self;
    cudaEvent_t before, after;
    TRY(gpu_check(d, cudaEventCreate(&before), "timing"));
    TRY(gpu_check(d, cudaEventCreate(&after), "timing"));
    status s = INGOT_OK;
    for (int64_t i = 0; i < w->count && !s; i++) {
        work one = {.name = w->name, .steps = &w->steps[i], .count = 1};
        float ms = 0;
        cudaEventRecord(before, g->queue.stream);
        s = launch_steps(d, &one);
        cudaEventRecord(after, g->queue.stream);
        count(d, 1, 1);
        device_count(&d->counts.waits, 1);
        if (!s) s = gpu_check(d, cudaEventSynchronize(after), "timing");
        cudaEventElapsedTime(&ms, before, after);
        w->ns[i] = (int64_t)((double)ms * 1e6);
    }
    cudaEventDestroy(before);
    cudaEventDestroy(after);
    return s;
}

static status run(device *d, const work *w, void *compiled)
{
    gpu *g = d->self;
    const ready *r = compiled;
    TRY(gpu_still_good(d));
    pthread_mutex_lock(&g->lock);
    snprintf(g->running, sizeof g->running, "%s", w->name);
    nvtx_begin(w->name);
    if (!w->ns) count(d, r ? 1 : w->count, r ? (int64_t)r->nodes : w->count);
    status s = w->ns ? run_timed(d, w)
               : r   ? gpu_check(d, cudaGraphLaunch(r->graph, g->queue.stream), "running a program")
                     : launch_steps(d, w);
    nvtx_end();
    pthread_mutex_unlock(&g->lock);
    return s;
}

static int64_t memory_in_use(const device *d)
{
    (void)d;
    size_t left = 0, total = 0;
    return cudaMemGetInfo(&left, &total) == cudaSuccess ? (int64_t)(total - left) : 0;
}

static int64_t memory_left(const device *d)
{
    (void)d;
    size_t left = 0, total = 0;
    return cudaMemGetInfo(&left, &total) == cudaSuccess ? (int64_t)left : INT64_MAX; /* then alloc will say it */
}

static void describe(const device *d, text *out)
{
    const struct device_caps *caps = d->caps;
    const gpu *g = d->self;
    char memory[24];
    text_printf(out, "%s, %d multiprocessors, compute capability %d.%d, %s", caps->name, caps->multiprocessors,
                caps->major, caps->minor, format_bytes(memory, (uint64_t)caps->memory_bytes));
    if (caps->persistent) /* they round otherwise */
        text_printf(out, ", runs of %d steps as one launch", caps->persistent);
    else if (g->rowwise)
        text_printf(out, ", rowwise runs of %d steps as one launch", g->rowwise);
}

#pragma GCC visibility push(default)
extern const char ingot_cuda_stamp[];
extern const device_def ingot_cuda_device;
const char ingot_cuda_stamp[] = INGOT_BUILD_STAMP;

const device_def ingot_cuda_device = {
    .name = "cuda",
    .summary = "NVIDIA GPUs",
    .side_by_side = true,
    .joins = true,
    .has_tf32 = true,
    .rows_at_once = 2048,
    .open = open_cuda,
    .close = close_cuda,
    .alloc = alloc,
    .free = free_memory,
    .fill = fill,
    .write = write_memory,
    .read = read_memory,
    .compile = compile,
    .run = run,
    .drop = drop,
    .launch_of = launch_of,
    .sync = sync,
    .staging = &cuda_staging,
    .trace = cuda_trace,
    .memory_in_use = memory_in_use,
    .memory_left = memory_left,
    .describe = describe,
};
#pragma GCC visibility pop
