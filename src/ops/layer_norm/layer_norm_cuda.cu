// Layer norm on CUDA: kit/cuda/norm.cuh and norm_grad.cuh with means.
#include "kit/cuda/norm_grad.cuh"
#include "ops/layer_norm/layer_norm.h"

static_assert((int)LAYER_NORM_Y == NORM_Y && (int)LAYER_NORM_RSTD == NORM_RSTD, "outputs");
static_assert((int)LAYER_NORM_GRAD_DX == NORM_GRAD_DX && (int)LAYER_NORM_GRAD_DW == NORM_GRAD_DW &&
                  (int)LAYER_NORM_GRAD_DBIAS == NORM_GRAD_DBIAS && (int)LAYER_NORM_GRAD_SUMS == NORM_GRAD_SUMS,
              "gradients");

static status launch(const step *s, queue *q)
{
    return launch_norm<true>(s, q, ATTRS_OF(layer_norm_attrs, s->node)->eps);
}

extern "C" const kernel_def layer_norm_cuda[] = {
    {.op = &op_layer_norm_def,
     .name = "layer_norm.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match_norm,
     .launch = launch,
     .error = ERROR_SUM},
    {.op = &op_layer_norm_grad_def,
     .name = "layer_norm_grad.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS,
     .match = match_norm_grad,
     .scratch = norm_grad_scratch,
     .launch = launch_norm_grad<true>,
     .error = ERROR_SUM},
    {},
};
