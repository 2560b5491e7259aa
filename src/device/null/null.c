/* The device that does nothing: the whole pipeline runs on it, anywhere, and results are never written. */
#include "device/host.h"

#include "kit/cpu/cpu.h"

static bool match_all(const node *n, const device_caps *caps)
{
    (void)n, (void)caps;
    return true;
}

static status launch_nothing(const step *s, queue *q)
{
    (void)s, (void)q;
    return INGOT_OK;
}

/* One kernel that takes every primitive; device_kernel asks for it through `any_op`. */
static const kernel_def any[] = {{.op = NULL,
                                  .name = "null",
                                  .match = match_all,
                                  .launch = launch_nothing,
                                  .wants = {STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED,
                                            STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED, STORAGE_STRIDED}}};

static status open_null(context *ctx, const ingot_device_options *options, device *d)
{
    (void)ctx, (void)options;
    d->any_op = any;
    return INGOT_OK;
}

static status run(device *d, const work *w, void *compiled)
{
    (void)d, (void)w, (void)compiled;
    return INGOT_OK;
}

static void describe(const device *d, text *out)
{
    (void)d;
    text_puts(out, "results are never written");
}

const device_def device_null = {
    .name = "null",
    .summary = "runs nothing, for tests and plans",
    .by_name_only = true,
    .runs_nothing = true,
    .joins = true,
    .open = open_null,
    .run = run,
    .describe = describe,
    HOST_DEVICE,
};
