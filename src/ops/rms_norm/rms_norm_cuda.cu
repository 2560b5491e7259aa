// RMS norm on CUDA: kit/cuda/norm.cuh and norm_grad.cuh without means.
#include "kit/cuda/norm_grad.cuh"
#include "kit/cuda/stage.h"
#include "ops/rms_norm/rms_norm.h"

static_assert((int)RMS_NORM_Y == NORM_Y && (int)RMS_NORM_RSTD == NORM_RSTD, "outputs");
static_assert((int)RMS_NORM_GRAD_DX == NORM_GRAD_DX && (int)RMS_NORM_GRAD_DW == NORM_GRAD_DW, "gradients");

static status launch(const step *s, queue *q)
{
    return launch_norm<false>(s, q, ATTRS_OF(rms_norm_attrs, s->node)->eps);
}

static bool stage_of(const step *s, const device_caps *, stage_offer *o)
{
    int64_t columns = s->in[1].shape.dim[0];
    if (shape_count(s->in[0].shape) != columns || columns > STAGE_NORM || columns % 8 || s->out[RMS_NORM_RSTD].data)
        return false;
    o->stage.kind = STAGE_RMS_NORM;
    o->stage.inputs = 2, o->stage.outputs = 1;
    o->stage.count = (int32_t)columns;
    o->stage.scale = (float)ATTRS_OF(rms_norm_attrs, s->node)->eps;
    o->dtype = s->in[0].dtype;
    o->spread = STAGE_WHOLE;
    return true;
}

extern "C" const kernel_def rms_norm_cuda[] = {
    {.op = &op_rms_norm_def,
     .name = "rms_norm.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match_norm,
     .launch = launch,
     .error = ERROR_SUM,
     .stage = stage_of},
    {.op = &op_rms_norm_grad_def,
     .name = "rms_norm_grad.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match_norm_grad,
     .scratch = norm_grad_scratch,
     .launch = launch_norm_grad<false>,
     .error = ERROR_SUM},
    {},
};
