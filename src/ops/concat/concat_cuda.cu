// Concatenation on CUDA: one launch for all inputs, in the largest units that all of them are whole numbers of. Inputs that
// were made in their places (passes/layout.c) stay there.
#include "kit/cuda/cuda.h"
#include "ops/concat/concat.h"

enum { MOST_INPUTS = 16 };

struct pieces {
    const void *from[MOST_INPUTS];
    int64_t run[MOST_INPUTS], start[MOST_INPUTS]; // bytes that an input has in a row, and where in it
    int64_t outer, whole;                         // rows; bytes of a row
    int64_t most;                                 // bytes of the largest input
};

// Input blockIdx.y.
template <typename U> __global__ void join_pieces(U *y, pieces p)
{
    constexpr int64_t SIZE = sizeof(U);
    wait_for_inputs();
    const U *from = (const U *)p.from[blockIdx.y];
    int64_t run = p.run[blockIdx.y] / SIZE, start = p.start[blockIdx.y] / SIZE;
    for (CUDA_EACH(i, run * p.outer)) {
        int64_t row = i / run;
        y[row * (p.whole / SIZE) + start + (i - row * run)] = from[i];
    }
}

// The inputs from *next on that are to be moved, and whether all of it is whole units of `unit` bytes.
static int collect(const step *s, int *next, int64_t *start, pieces *p, int64_t *unit)
{
    int count = 0;
    p->most = 0;
    for (; count < MOST_INPUTS && *next < s->inputs; ++*next) {
        const tensor *in = &s->in[*next];
        int64_t run = shape_count(in->shape) / p->outer * ingot_dtype_bytes(in->dtype), at = *start;
        *start += run;
        if (concat_in_place(s, *next)) continue;
        while (run % *unit || at % *unit || in->byte_offset % *unit) *unit /= 2;
        p->from[count] = in->data, p->run[count] = run, p->start[count++] = at;
        p->most = run * p->outer > p->most ? run * p->outer : p->most;
    }
    return count;
}

template <typename U> static void join(const step *s, const pieces &p, int count, queue *q)
{
    dim3 blocks(cuda_blocks(p.most / (int64_t)sizeof(U)), (unsigned)count);
    join_pieces<<<blocks, CUDA_THREADS, 0, q->stream>>>((U *)s->out[0].data, p);
}

static status launch(const step *s, queue *q)
{
    int64_t axis = ATTRS_OF(concat_attrs, s->node)->axis, start = 0;
    pieces p = {};
    p.outer = 1, p.whole = ingot_dtype_bytes(s->out[0].dtype);
    for (int64_t i = 0; i < axis; i++) p.outer *= s->out[0].shape.dim[i];
    for (int64_t i = axis; i < s->out[0].shape.rank; i++) p.whole *= s->out[0].shape.dim[i];
    for (int next = 0; next < s->inputs;) {
        int64_t unit = 16;
        while (p.whole % unit || s->out[0].byte_offset % unit) unit /= 2;
        int count = collect(s, &next, &start, &p, &unit);
        if (count == 0) continue;
        if (unit == 16)
            join<uint4>(s, p, count, q);
        else if (unit == 8)
            join<uint2>(s, p, count, q);
        else if (unit == 4)
            join<uint32_t>(s, p, count, q);
        else if (unit == 2)
            join<uint16_t>(s, p, count, q);
        else
            join<uint8_t>(s, p, count, q);
    }
    return INGOT_OK;
}

extern "C" const kernel_def concat_cuda[] = {
    {.op = &op_concat_def,
     .name = "concat.cuda",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_ROW_INVARIANT,
     .match = match_any,
     .launch = launch},
    {},
};
