/* Attention of inference: every row is a token of some sequence, whose keys and values lie in pages of a pool. Prefill,
 * decoding and batches of both are this one op. Kwon et al. 2023.
 */
#include "ops/attention_rows/attention_rows.h"

static bool is_i32(const value *v, int64_t rank, int64_t first)
{
    return v->dtype == INGOT_I32 && v->shape.rank == rank && (first < 0 || v->shape.dim[0] == first);
}

static status infer(build *b, const node *n, inferred *out)
{
    (void)out;
    shape q = n->in[ROWS_Q]->shape, k = n->in[ROWS_K_POOL]->shape, v = n->in[ROWS_V_POOL]->shape;
    int64_t page = ATTRS_OF(attention_rows_attrs, n)->page_size;
    char one[128], other[128], third[128];
    bool fits = q.rank == 3 && k.rank == 3 && shape_equal(k, v) && q.dim[2] == k.dim[2] && q.dim[1] % k.dim[1] == 0 &&
                k.dim[0] % page == 0;
    if (!fits)
        return infer_fail(
            b, n,
            "q %s, k_pool %s, v_pool %s do not fit: they must be (N, H, D), (pages * %lld, K, D) twice, H a "
            "multiple of K",
            shape_print(one, q), shape_print(other, k), shape_print(third, v), (long long)page);
    if (!is_i32(n->in[ROWS_BLOCK_TABLE], 2, -1) || !is_i32(n->in[ROWS_SEQUENCE], 1, q.dim[0]) ||
        !is_i32(n->in[ROWS_POSITION], 1, q.dim[0]))
        return infer_fail(
            b, n, "block_table %s must be int32 (S, pages), row_sequence %s and row_position %s int32 (%lld)",
            shape_print(one, n->in[ROWS_BLOCK_TABLE]->shape), shape_print(other, n->in[ROWS_SEQUENCE]->shape),
            shape_print(third, n->in[ROWS_POSITION]->shape), (long long)q.dim[0]);
    return INGOT_OK;
}

/* Rows of a pool that each row of the graph may see: (N, K, M, D), M all tokens of its sequence's pages. */
static value *keys_of(build *b, value *pool, value *slots)
{
    return ingot_permute(b, ingot_gather(b, pool, slots), INGOT_SHAPE(0, 2, 1, 3));
}

static void lower(build *b, const node *n, value **out)
{
    const attention_rows_attrs *a = n->attrs;
    value *q = n->in[ROWS_Q];
    shape qs = q->shape, pool = n->in[ROWS_K_POOL]->shape;
    int64_t rows = qs.dim[0], kv = pool.dim[1], pages = n->in[ROWS_BLOCK_TABLE]->shape.dim[1],
            keys = pages * a->page_size;
    value *page = ingot_gather(b, n->in[ROWS_BLOCK_TABLE], n->in[ROWS_SEQUENCE]); /* (N, pages) */
    value *first = ingot_mul_scalar(b, ingot_reshape(b, page, INGOT_SHAPE(rows, pages, 1)), (double)a->page_size);
    value *slots = ingot_add(b, first, ingot_iota(b, INGOT_I32, INGOT_SHAPE(a->page_size), 0));
    slots = ingot_reshape(b, slots, INGOT_SHAPE(rows, keys));
    q = ingot_reshape(b, q, INGOT_SHAPE(rows, kv, qs.dim[1] / kv, qs.dim[2])); /* (N, K, G, D) */
    value *s =
        ingot_mul_scalar(b, ingot_matmul_with(b, q, keys_of(b, n->in[ROWS_K_POOL], slots), NULL, 0, 1), a->scale);
    value *position = ingot_cast(b, ingot_reshape(b, n->in[ROWS_POSITION], INGOT_SHAPE(rows, 1, 1, 1)), q->dtype);
    value *seen = ingot_less_equal(b, ingot_iota(b, q->dtype, INGOT_SHAPE(keys), 0), position); /* (N, 1, 1, M) */
    /* Padding rows see nothing: their sum is 0, and so is what they give. */
    value *max = ingot_max(b, ingot_pointwise(b, "where(b, a, -1e30)", (value *const[]){s, seen}, 2), -1, 1);
    value *e = ingot_pointwise(b, "where(b, exp(a - c), 0)", (value *const[]){s, seen, max}, 3);
    value *sum = ingot_sum(b, e, -1, 1);
    value *p = ingot_pointwise(b, "where(b == 0, 0, a / b)", (value *const[]){e, sum}, 2);
    out[0] = ingot_reshape(b, ingot_matmul(b, p, keys_of(b, n->in[ROWS_V_POOL], slots)), qs);
}

/* How long the sequences are is not known here: as if all pages were full. */
static op_cost cost(const node *n)
{
    shape q = n->in[ROWS_Q]->shape, k = n->in[ROWS_K_POOL]->shape, t = n->in[ROWS_BLOCK_TABLE]->shape;
    double keys = (double)t.dim[1] * (double)ATTRS_OF(attention_rows_attrs, n)->page_size;
    return (op_cost){.flops = 4 * (double)shape_count(q) * keys,
                     .bytes = 2.0 * (double)value_bytes(n->in[ROWS_Q]) +
                              2 * (double)t.dim[0] * keys * (double)(k.dim[1] * k.dim[2]) * 4};
}

#define A(scale, page_size)                                                                                            \
    &(const attention_rows_attrs)                                                                                      \
    {                                                                                                                  \
        scale, page_size                                                                                               \
    }
const op_def op_attention_rows_def = {
    .name = "attention_rows",
    .doc = "o[n] = sum over j <= row_position[n] of softmax(scale q[n] k[j]) v[j] over the keys of sequence "
           "row_sequence[n]: q "
           "(N, H, D), k_pool and v_pool (pages * page_size, K, D), block_table int32 (S, pages a sequence), "
           "row_sequence and "
           "row_position int32 (N). Key j of sequence s is row block_table[s, j / page_size] * page_size + j % "
           "page_size of "
           "the pool. A position of -1 gives zeros. Not differentiable. Kwon et al. 2023.",
    .inputs = {{"q", FLOAT},
               {"k_pool", FLOAT},
               {"v_pool", FLOAT},
               {"block_table", INTEGER},
               {"row_sequence", INTEGER},
               {"row_position", INTEGER}},
    .outputs = {{"o", .like = INPUT(ROWS_Q)}},
    ATTRS(attention_rows_attrs, ATTR(attention_rows_attrs, scale, ATTR_F64),
          ATTR(attention_rows_attrs, page_size, ATTR_I64, .minimum = 1, .maximum = 1 << 30)),
    .traits = OP_WIDE | OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    .lower = lower,
    .cost = cost,
    BENCH({.in = {S(8, 12, 64), S(8192, 12, 64), S(8192, 12, 64), S(8, 32), S(8), S(8)},
           .attrs = A(0.125, 32),
           .below = {[ROWS_BLOCK_TABLE] = 256, [ROWS_SEQUENCE] = 8, [ROWS_POSITION] = 1024}}),
    SAMPLES({.in = {S(3, 4, 5), S(14, 2, 5), S(14, 2, 5), S(2, 3), S(3), S(3)},
             .attrs = A(0.5, 2),
             .below = {[ROWS_BLOCK_TABLE] = 7, [ROWS_SEQUENCE] = 2, [ROWS_POSITION] = 6}},
            {.in = {S(1, 1, 1), S(1, 1, 1), S(1, 1, 1), S(1, 1), S(1), S(1)},
             .attrs = A(1, 1),
             .below = {[ROWS_BLOCK_TABLE] = 1, [ROWS_SEQUENCE] = 1, [ROWS_POSITION] = 1}},
            {.in = {S(33, 9, 64), S(160, 3, 64), S(160, 3, 64), S(4, 8), S(33), S(33)},
             .attrs = A(0.125, 16),
             .below = {[ROWS_BLOCK_TABLE] = 10, [ROWS_SEQUENCE] = 4, [ROWS_POSITION] = 128},
             .sorted = {[ROWS_SEQUENCE] = true}},
            {.in = {S(70, 2, 32), S(512, 1, 32), S(512, 1, 32), S(1, 1), S(70), S(70)},
             .attrs = A(0.2, 512),
             .below = {[ROWS_BLOCK_TABLE] = 1, [ROWS_SEQUENCE] = 1, [ROWS_POSITION] = 500},
             .sorted = {[ROWS_POSITION] = true}},
            {.in = {S(100, 6, 64), S(192, 2, 64), S(192, 2, 64), S(3, 8), S(100), S(100)},
             .attrs = A(0.125, 16),
             .below = {[ROWS_BLOCK_TABLE] = 12, [ROWS_SEQUENCE] = 3, [ROWS_POSITION] = 128},
             .sorted = {[ROWS_SEQUENCE] = true}},
            {.in = {S(67, 4, 128), S(90, 4, 128), S(90, 4, 128), S(2, 9), S(67), S(67)},
             .attrs = A(0.1, 10),
             .values = VALUES_WIDE,
             .below = {[ROWS_BLOCK_TABLE] = 9, [ROWS_SEQUENCE] = 2, [ROWS_POSITION] = 90}},
            {.in = {S(200, 4, 128), S(640, 2, 128), S(640, 2, 128), S(2, 10), S(200), S(200)},
             .attrs = A(0.1, 32),
             .below = {[ROWS_BLOCK_TABLE] = 20, [ROWS_SEQUENCE] = 2, [ROWS_POSITION] = 320},
             .sorted = {[ROWS_SEQUENCE] = true}},
            {.in = {S(250, 3, 64), S(600, 1, 64), S(600, 1, 64), S(2, 1), S(250), S(250)},
             .attrs = A(0.125, 300),
             .below = {[ROWS_BLOCK_TABLE] = 2, [ROWS_SEQUENCE] = 2, [ROWS_POSITION] = 300},
             .sorted = {[ROWS_POSITION] = true}},
            {.in = {S(5, 4, 31), S(96, 4, 31), S(96, 4, 31), S(3, 5), S(5), S(5)},
             .attrs = A(0.2, 8),
             .values = VALUES_WIDE,
             .below = {[ROWS_BLOCK_TABLE] = 12, [ROWS_SEQUENCE] = 3, [ROWS_POSITION] = 40}},
            {.in = {S(2, 14, 128), S(130, 2, 128), S(130, 2, 128), S(2, 13), S(2), S(2)},
             .attrs = A(0.08838834764831845, 10),
             .values_of = {VALUES_ONE_DOMINANT},
             .below = {[ROWS_BLOCK_TABLE] = 13, [ROWS_SEQUENCE] = 2, [ROWS_POSITION] = 200}}),
};

ingot_value *ingot_attention_rows(ingot_build *b, ingot_value *q, ingot_value *k_pool, ingot_value *v_pool,
                                  ingot_value *block_table, ingot_value *row_sequence, ingot_value *row_position,
                                  int64_t page_size, double scale)
{
    attention_rows_attrs a = {scale, page_size};
    return APPLY(b, &op_attention_rows_def, &a, q, k_pool, v_pool, block_table, row_sequence, row_position);
}
