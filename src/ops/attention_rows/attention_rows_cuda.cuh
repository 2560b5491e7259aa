// What the kernels of attention over a paged cache share: the numbers of a call, and where a key lies.
#ifndef OPS_ATTENTION_ROWS_ATTENTION_ROWS_CUDA_CUH
#define OPS_ATTENTION_ROWS_ATTENTION_ROWS_CUDA_CUH

#include "kit/cuda/values.cuh"
#include "ops/attention_rows/attention_rows.h"

struct paged {
    const void *q, *k, *v;
    void *o;
    float *part; // (rows, heads, shares, 2 + dim): maximum, sum, sums of values; NULL: one share
    const int32_t *table, *sequence, *position;
    int64_t pool;
    int rows, heads, kv_heads, group, dim, sequences, pages, page_size, shares, head_groups;
    float scale;
    int64_t q_row, q_head; // between rows and heads of q, which may be a part of a longer row
    bool wide, q_wide;     // rows are whole packs of 8 elements; of q as well
};

static inline paged paged_of(const step *s)
{
    paged_shape a = paged_shape_of(s);
    paged p = {};
    p.q = s->in[ROWS_Q].data, p.k = s->in[ROWS_K_POOL].data, p.v = s->in[ROWS_V_POOL].data, p.o = s->out[0].data;
    p.table = a.block_table, p.sequence = a.sequence, p.position = a.position, p.pool = a.pool;
    p.rows = (int)a.rows, p.heads = (int)a.heads, p.kv_heads = (int)a.kv_heads, p.group = (int)a.group;
    p.dim = (int)a.dim, p.sequences = (int)a.sequences, p.pages = (int)a.pages, p.page_size = (int)a.page_size;
    p.shares = p.head_groups = 1;
    p.scale = a.scale;
    const tensor *q = &s->in[ROWS_Q];
    p.q_row = q->stride[0], p.q_head = q->stride[1];
    p.wide = a.dim % 8 == 0;
    p.q_wide = p.wide && p.q_row % 8 == 0 && p.q_head % 8 == 0 && q->byte_offset % 16 == 0;
    return p;
}

// The pool's row of a key; -1: nowhere, which reads as zeros.
__device__ __forceinline__ int64_t slot_of(const paged &p, int sequence, int key)
{
    bool known = sequence >= 0 && sequence < p.sequences;
    int64_t page = known ? p.table[(int64_t)sequence * p.pages + key / p.page_size] : 0;
    int64_t slot = page * p.page_size + key % p.page_size;
    return page >= 0 && slot < p.pool ? slot : -1;
}

// How many keys a row sees; 0 for a padding row.
__device__ __forceinline__ int keys_of_row(const paged &p, int row)
{
    int keys = p.position[row] + 1, most = p.pages * p.page_size;
    keys = keys < most ? keys : most;
    return keys < 0 ? 0 : keys;
}

// Prompts by mma (prompt_rows_cuda.cu), and whether that takes a node: what others fall back to.
bool prompt_rows_match(const node *n, const device_caps *caps);
status prompt_rows_by_warps(const step *s, queue *q);

#endif
