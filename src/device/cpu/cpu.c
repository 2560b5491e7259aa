/* The CPU as a device: the host's memory, the context's pool, the kernels of the best instruction set that is here. */
#include "device/host.h"

#include "kit/cpu/cpu.h"

#include <hwloc.h>

#define KERNELS(name)     extern const kernel_def name[];
#define KERNELS_ISA(name) extern const kernel_def name##_baseline[], name##_avx2[], name##_avx512[];
#include "device/cpu/kernels.def"
#undef KERNELS
#undef KERNELS_ISA

#define KERNELS(name)     name,
#define KERNELS_ISA(name) name##_baseline,
static const kernel_def *const kernels_baseline[] = {
#include "device/cpu/kernels.def"
    NULL,
};
#undef KERNELS_ISA

#ifdef INGOT_HAVE_AVX2
#define KERNELS_ISA(name) name##_avx2,
static const kernel_def *const kernels_avx2[] = {
#include "device/cpu/kernels.def"
    NULL,
};
#undef KERNELS_ISA
#endif

#ifdef INGOT_HAVE_AVX512
#define KERNELS_ISA(name) name##_avx512,
static const kernel_def *const kernels_avx512[] = {
#include "device/cpu/kernels.def"
    NULL,
};
#undef KERNELS_ISA
#endif

typedef struct cpu {
    device_caps caps;
    queue queue;
} cpu;

static kernel_table kernels_of(cpu_isa isa)
{
#ifdef INGOT_HAVE_AVX512
    if (isa == CPU_AVX512) return kernels_avx512;
#endif
#ifdef INGOT_HAVE_AVX2
    if (isa >= CPU_AVX2) return kernels_avx2;
#endif
    (void)isa;
    return kernels_baseline;
}

static int64_t cache_bytes(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    hwloc_obj_t cache = hwloc_get_obj_by_type(topology, type, 0);
    return cache ? (int64_t)cache->attr->cache.size : 0;
}

static void detect_caches(device_caps *caps)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology)) return;
    if (!hwloc_topology_load(topology)) {
        caps->l1_bytes = cache_bytes(topology, HWLOC_OBJ_L1CACHE);
        caps->l2_bytes = cache_bytes(topology, HWLOC_OBJ_L2CACHE);
        caps->l3_bytes = cache_bytes(topology, HWLOC_OBJ_L3CACHE);
    }
    hwloc_topology_destroy(topology);
}

static status check_level(context *ctx, const device *d, const device_caps *caps)
{
    if (d->level == LEVEL_BLAS && !caps->blas)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                          "level blas: this build has no CBLAS; install OpenBLAS and build again, or use simd");
    const char *nearest = caps->amx ? "amx" : caps->avx512_bf16 ? "avx512-bf16" : "simd";
    if (d->level == LEVEL_AVX512_BF16 && !caps->avx512_bf16)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                          "level avx512-bf16: this processor lacks its instructions; the nearest here is %s", nearest);
    if (d->level == LEVEL_AMX && !caps->amx)
        return ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "level amx: %s; the nearest here is %s",
                          cpu_has_amx() ? "the kernel does not let this process use the processor's tiles"
                                        : "this processor lacks its instructions",
                          nearest);
    return INGOT_OK;
}

static status open_cpu(context *ctx, const ingot_device_options *options, device *d)
{
    (void)options;
    cpu *self = calloc(1, sizeof *self);
    if (!self) return fail_memory(ctx, "the cpu device", sizeof *self);
    pool *p = context_pool(ctx);
    if (!p) {
        free(self);
        return ingot_fail(ctx, INGOT_ERROR_MEMORY, "threads could not be started; try --threads 1");
    }
    self->caps = (device_caps){.isa = cpu_detect_isa(), .threads = pool_size(p), .avx512_bf16 = cpu_has_avx512_bf16()};
    self->caps.amx = cpu_ask_for_amx();
#ifdef INGOT_CBLAS
    self->caps.blas = true;
#endif
    detect_caches(&self->caps);
    status s = check_level(ctx, d, &self->caps);
    if (s) {
        free(self);
        return s;
    }
    bool one_thread = d->level == LEVEL_NAIVE || d->level == LEVEL_TILED;
    self->queue = (queue){.pool = one_thread ? NULL : p, .caps = &self->caps};
    d->self = self;
    d->caps = &self->caps;
    d->kernels = kernels_of(self->caps.isa);
    return INGOT_OK;
}

static status run(device *d, const work *w, void *compiled)
{
    (void)compiled;
    return host_run_steps(d, w, &((cpu *)d->self)->queue);
}

#ifdef __aarch64__
#define ISA_BASELINE "NEON" /* every 64-bit Arm has it */
#else
#define ISA_BASELINE "baseline"
#endif

static void describe(const device *d, text *out)
{
    static const char *const isas[] = {ISA_BASELINE, "AVX2", "AVX-512"};
    const device_caps *caps = d->caps;
    text_printf(out, "%d threads, %s kernels%s%s, caches %lld KB / %lld KB / %lld KB", caps->threads, isas[caps->isa],
                caps->amx           ? " with AMX"
                : caps->avx512_bf16 ? " with bfloat16"
                                    : "",
                caps->blas ? " and CBLAS" : "", (long long)caps->l1_bytes >> 10, (long long)caps->l2_bytes >> 10,
                (long long)caps->l3_bytes >> 10);
}

const device_def device_cpu = {
    .name = "cpu",
    .summary = "this machine's processor",
    .open = open_cpu,
    .runs_host_code = true,
    .run = run,
    .describe = describe,
    HOST_DEVICE,
};
