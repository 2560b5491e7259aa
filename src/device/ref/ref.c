/* The oracle: float64, plain loops, one thread. It takes primitives only, so every other op is run through its lower. */
#include "device/host.h"

#include "kit/cpu/cpu.h"

#define KERNELS(name) extern const kernel_def name[];
#include "device/ref/kernels.def"
#undef KERNELS

static const kernel_def *const kernels[] = {
#define KERNELS(name) name,
#include "device/ref/kernels.def"
#undef KERNELS
    NULL,
};

static const device_caps caps = {.threads = 1};

static status open_ref(context *ctx, const ingot_device_options *options, device *d)
{
    (void)ctx, (void)options;
    d->caps = &caps;
    d->kernels = kernels;
    d->level = LEVEL_BEST;
    d->row_invariant = false;
    return INGOT_OK;
}

static status run(device *d, const work *w, void *compiled)
{
    (void)compiled;
    queue q = {.caps = &caps};
    return host_run_steps(d, w, &q);
}

static void describe(const device *d, text *out)
{
    (void)d;
    text_puts(out, "one thread");
}

const device_def device_ref = {
    .name = "ref",
    .summary = "the oracle: float64 in plain loops",
    .by_name_only = true,
    .promotes_to_f64 = true,
    .lowers_all = true,
    .open = open_ref,
    .run = run,
    .describe = describe,
    HOST_DEVICE,
};
