// Concatenation on CUDA: one strided copy an input, by the copy engine.
#include "kit/cuda/cuda.h"
#include "ops/concat/concat.h"

static status launch(const step *s, queue *q)
{
    int64_t axis = ATTRS_OF(concat_attrs, s->node)->axis, outer = 1, start = 0,
            size = ingot_dtype_bytes(s->out[0].dtype);
    int64_t whole = size;
    for (int64_t i = 0; i < axis; i++) outer *= s->out[0].shape.dim[i];
    for (int64_t i = axis; i < s->out[0].shape.rank; i++) whole *= s->out[0].shape.dim[i];
    for (int i = 0; i < s->inputs; i++) {
        int64_t run = shape_count(s->in[i].shape) / outer * size;
        cudaMemcpy2DAsync((char *)s->out[0].data + start, (size_t)whole, s->in[i].data, (size_t)run, (size_t)run,
                          (size_t)outer, cudaMemcpyDeviceToDevice, q->stream);
        start += run;
    }
    return INGOT_OK;
}

extern "C" const kernel_def concat_cuda[] = {
    {.op = &op_concat_def,
     .name = "concat.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_ROW_INVARIANT,
     .match = match_any,
     .launch = launch},
    {},
};
