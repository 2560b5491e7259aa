// Concatenation on CUDA: one launch for all inputs that are whole units of 16 bytes, else a strided copy an input.
#include "kit/cuda/cuda.h"
#include "ops/concat/concat.h"

enum { MOST_INPUTS = 16 };

struct pieces {
    const uint4 *from[MOST_INPUTS];
    int64_t run[MOST_INPUTS], start[MOST_INPUTS]; // units of 16 bytes that an input has in a row, and where in it
    int64_t outer, whole;                         // rows; units of a row
};

// Input blockIdx.y.
__global__ void join_pieces(uint4 *y, pieces p)
{
    const uint4 *from = p.from[blockIdx.y];
    int64_t run = p.run[blockIdx.y], start = p.start[blockIdx.y];
    for (CUDA_EACH(i, run * p.outer)) {
        int64_t row = i / run;
        y[row * p.whole + start + (i - row * run)] = from[i];
    }
}

static bool join_in_one(const step *s, int64_t outer, int64_t whole, queue *q)
{
    pieces p = {.outer = outer, .whole = whole / 16};
    int64_t start = 0, most = 0;
    if (s->inputs > MOST_INPUTS || whole % 16 || s->out[0].byte_offset % 16) return false;
    for (int i = 0; i < s->inputs; i++) {
        int64_t run = shape_count(s->in[i].shape) / outer * ingot_dtype_bytes(s->out[0].dtype);
        if (run % 16 || s->in[i].byte_offset % 16) return false;
        p.from[i] = (const uint4 *)s->in[i].data, p.run[i] = run / 16, p.start[i] = start / 16;
        start += run;
        most = run > most ? run : most;
    }
    join_pieces<<<dim3(cuda_blocks(most / 16 * outer), (unsigned)s->inputs), CUDA_THREADS, 0, q->stream>>>(
        (uint4 *)s->out[0].data, p);
    return true;
}

static status launch(const step *s, queue *q)
{
    int64_t axis = ATTRS_OF(concat_attrs, s->node)->axis, outer = 1, start = 0,
            size = ingot_dtype_bytes(s->out[0].dtype);
    int64_t whole = size;
    for (int64_t i = 0; i < axis; i++) outer *= s->out[0].shape.dim[i];
    for (int64_t i = axis; i < s->out[0].shape.rank; i++) whole *= s->out[0].shape.dim[i];
    if (join_in_one(s, outer, whole, q)) return INGOT_OK;
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
