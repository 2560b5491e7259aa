/* Attention of token rows over a cache that their own keys and values go into first, by what they are before their rotary
 * positions: what a layer does between its two products when it decodes. Made by the match pass where a device has a kernel
 * for all of it, else never seen.
 */
#include "ops/cached_attention/cached_attention.h"
#include "ops/rope/rope.h"

static bool is_rows(const value *v, int64_t rows)
{
    return v->dtype == INGOT_I32 && v->shape.rank == 1 && v->shape.dim[0] == rows;
}

static status infer(build *b, const node *n, inferred *out)
{
    (void)out;
    shape q = n->in[CACHED_Q]->shape, k = n->in[CACHED_K]->shape, pool = n->in[CACHED_K_POOL]->shape;
    const value *angles = n->inputs > CACHED_ANGLES ? n->in[CACHED_ANGLES] : NULL, *table = n->in[CACHED_BLOCK_TABLE];
    char one[128], other[128], third[128];
    bool fits = q.rank == 3 && k.rank == 3 && pool.rank == 3 && shape_equal(k, n->in[CACHED_V]->shape) &&
                shape_equal(pool, n->in[CACHED_V_POOL]->shape) && q.dim[0] == k.dim[0] && q.dim[2] == k.dim[2] &&
                k.dim[1] == pool.dim[1] && k.dim[2] == pool.dim[2] && q.dim[1] % k.dim[1] == 0 &&
                pool.dim[0] % ATTRS_OF(attention_rows_attrs, n)->page_size == 0;
    if (!fits)
        return infer_fail(b, n,
                          "q %s, k %s, k_pool %s do not fit: they must be (N, H, D), (N, K, D), (pages * page_size, K, "
                          "D), v and v_pool like k and k_pool, H a multiple of K",
                          shape_print(one, q), shape_print(other, k), shape_print(third, pool));
    for (int i = CACHED_K; i <= CACHED_V_POOL; i++)
        if (n->in[i]->dtype != n->in[CACHED_Q]->dtype)
            return infer_fail(b, n, "%s is %s, q is %s; cast one", n->op->inputs[i].name,
                              ingot_dtype_name(n->in[i]->dtype), ingot_dtype_name(n->in[CACHED_Q]->dtype));
    if (table->dtype != INGOT_I32 || table->shape.rank != 2 || !is_rows(n->in[CACHED_SLOT], q.dim[0]) ||
        !is_rows(n->in[CACHED_SEQUENCE], q.dim[0]) || !is_rows(n->in[CACHED_POSITION], q.dim[0]))
        return infer_fail(b, n, "block_table must be int32 (S, pages), slot, sequence and position int32 (%lld)",
                          (long long)q.dim[0]);
    if (angles && (angles->shape.rank != 2 || angles->shape.dim[1] % 2 || angles->shape.dim[1] > q.dim[2]))
        return infer_fail(b, n, "angles %s must be (positions, even R up to %lld)", shape_print(one, angles->shape),
                          (long long)q.dim[2]);
    return INGOT_OK;
}

static value *turned(build *b, const node *n, value *x)
{
    value *angles = n->inputs > CACHED_ANGLES ? n->in[CACHED_ANGLES] : NULL;
    return angles ? ingot_rope(b, x, n->in[CACHED_POSITION], angles, 0) : x;
}

static void lower(build *b, const node *n, value **out)
{
    const attention_rows_attrs *a = n->attrs;
    value *q = turned(b, n, n->in[CACHED_Q]), *k = turned(b, n, n->in[CACHED_K]);
    out[CACHED_K_AFTER] = ingot_scatter_rows(b, n->in[CACHED_K_POOL], n->in[CACHED_SLOT], k);
    out[CACHED_V_AFTER] = ingot_scatter_rows(b, n->in[CACHED_V_POOL], n->in[CACHED_SLOT], n->in[CACHED_V]);
    out[CACHED_O] = ingot_attention_rows(b, q, out[CACHED_K_AFTER], out[CACHED_V_AFTER], n->in[CACHED_BLOCK_TABLE],
                                         n->in[CACHED_SEQUENCE], n->in[CACHED_POSITION], a->page_size, a->scale);
}

/* In place, as it runs over states; how long the sequences are is not known here: as if all pages were full. */
static op_cost cost(const node *n)
{
    shape q = n->in[CACHED_Q]->shape, k = n->in[CACHED_K]->shape, t = n->in[CACHED_BLOCK_TABLE]->shape;
    double keys = (double)t.dim[1] * (double)ATTRS_OF(attention_rows_attrs, n)->page_size;
    double size = (double)ingot_dtype_bytes(n->in[CACHED_Q]->dtype);
    return (op_cost){.flops = 4 * (double)shape_count(q) * keys,
                     .bytes = 2.0 * (double)value_bytes(n->in[CACHED_Q]) + 4.0 * (double)value_bytes(n->in[CACHED_K]) +
                              2 * (double)t.dim[0] * keys * (double)(k.dim[1] * k.dim[2]) * size};
}

#define A(scale, page_size)                                                                                            \
    &(const attention_rows_attrs)                                                                                      \
    {                                                                                                                  \
        scale, page_size                                                                                               \
    }
/* N rows, H and K heads of D, S sequences of P pages of T tokens; pages in the pool; R positions of angles. */
#define SHAPES(N, H, K, D, pages, T, S_, P, R)                                                                         \
    {                                                                                                                  \
        S(N, H, D), S(N, K, D), S(N, K, D), S((pages) * (T), K, D), S((pages) * (T), K, D), S(N), S(S_, P), S(N),      \
            S(N), S(R, D)                                                                                              \
    }
#define UNTURNED(N, H, K, D, pages, T, S_, P)                                                                          \
    {                                                                                                                  \
        S(N, H, D), S(N, K, D), S(N, K, D), S((pages) * (T), K, D), S((pages) * (T), K, D), S(N), S(S_, P), S(N),      \
            S(N), NOT_GIVEN                                                                                            \
    }
#define BELOW(slot, page, sequence, position)                                                                          \
    {                                                                                                                  \
        [CACHED_SLOT] = slot, [CACHED_BLOCK_TABLE] = page, [CACHED_SEQUENCE] = sequence, [CACHED_POSITION] = position  \
    }
const op_def op_cached_attention_def = {
    .name = "cached_attention",
    .doc =
        "k, turned by its row's position as rope has it, and v go to row slot[n] of the pools; then o is "
        "attention_rows of q, turned likewise, over the pools: a row sees those that go there with it. q (N, H, D), k "
        "and v "
        "(N, K, D), pools (pages * page_size, K, D), slot, sequence and position int32 (N), block_table int32 (S, "
        "pages a "
        "sequence), angles (R, D) as in rope; without them nothing is turned. Of equal slots the last row stays; "
        "slots outside of the pools are dropped. Not differentiable.",
    .inputs = {{"q", FLOAT},
               {"k", FLOAT},
               {"v", FLOAT},
               {"k_pool", FLOAT},
               {"v_pool", FLOAT},
               {"slot", INTEGER},
               {"block_table", INTEGER},
               {"sequence", INTEGER},
               {"position", INTEGER},
               {"angles", FLOAT, .optional = true, .not_differentiable = true, .wide = true}},
    .outputs = {{"o", .like = INPUT(CACHED_Q)},
                {"k_after", .like = INPUT(CACHED_K_POOL), .may_reuse = INPUT(CACHED_K_POOL)},
                {"v_after", .like = INPUT(CACHED_V_POOL), .may_reuse = INPUT(CACHED_V_POOL)}},
    ATTRS(attention_rows_attrs, ATTR(attention_rows_attrs, scale, ATTR_F64),
          ATTR(attention_rows_attrs, page_size, ATTR_I64, .minimum = 1, .maximum = 1 << 30)),
    .traits = OP_INTERNAL | OP_NOT_DIFFERENTIABLE,
    .infer = infer,
    .lower = lower,
    .cost = cost,
    BENCH({.in = SHAPES(1, 32, 8, 64, 1, 640, 1, 1, 640), .attrs = A(0.125, 640), .below = BELOW(640, 1, 1, 640)},
          {.in = SHAPES(8, 9, 3, 64, 256, 32, 8, 32, 1024), .attrs = A(0.125, 32), .below = BELOW(8192, 256, 8, 1024)}),
    /* One row; a few that see each other, some of one slot; sequences that share pages; a head that is not whole packs. */
    SAMPLES(
        {.in = SHAPES(1, 9, 3, 64, 1, 150, 1, 1, 150), .attrs = A(0.01, 150), .below = BELOW(150, 1, 1, 150)},
        {.in = SHAPES(3, 4, 2, 6, 5, 2, 2, 3, 7), .attrs = A(0.5, 2), .below = BELOW(11, 6, 3, 8)},
        {.in = UNTURNED(1, 1, 1, 1, 1, 1, 1, 1), .attrs = A(1, 1), .below = BELOW(1, 1, 1, 1)},
        {.in = UNTURNED(5, 4, 4, 31, 12, 8, 3, 5),
         .attrs = A(0.2, 8),
         .values = VALUES_WIDE,
         .below = BELOW(96, 12, 3, 40)},
        {.in = SHAPES(16, 8, 2, 32, 4, 8, 2, 3, 24),
         .attrs = A(0.2, 8),
         .below = BELOW(32, 4, 2, 24),
         .sorted = {[CACHED_SLOT] = true}},
        {.in = SHAPES(9, 6, 2, 64, 2, 32, 1, 2, 64),
         .attrs = A(0.125, 32),
         .below = BELOW(12, 2, 1, 64),
         .sorted = {[CACHED_SLOT] = true, [CACHED_POSITION] = true}},
        {.in = UNTURNED(4, 12, 12, 64, 8, 16, 4, 6), .attrs = A(0.125, 16), .below = BELOW(128, 8, 4, 96)},
        {.in = SHAPES(2, 14, 2, 128, 13, 10, 2, 13, 130),
         .attrs = A(0.08838834764831845, 10),
         .values_of = {VALUES_ONE_DOMINANT},
         .below = BELOW(130, 13, 2, 140)},
        {.in = SHAPES(2, 5, 5, 80, 3, 40, 2, 2, 80), .attrs = A(0.1, 40), .below = BELOW(120, 3, 2, 80)},
        {.in = SHAPES(1, 8, 2, 64, 1, 1500, 1, 1, 1500),
         .attrs = A(0.01, 1500),
         .below = BELOW(1500, 1, 1, 1500)}, /* long enough to be shared by blocks */
        {.in = SHAPES(3, 6, 1, 32, 90, 32, 3, 80, 2600), .attrs = A(0.02, 32), .below = BELOW(2880, 90, 3, 2560)},
        {.in = SHAPES(2, 1, 1, 32, 100, 30, 2, 100, 3000), .attrs = A(0.05, 30), .below = BELOW(3000, 100, 2, 3000)},
        {.in = SHAPES(1, 2, 1, 64, 1, 4096, 1, 1, 4096), .attrs = A(0.02, 4096), .below = BELOW(4096, 1, 1, 4096)}),
};
