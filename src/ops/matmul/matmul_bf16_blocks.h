/* How the bfloat16 rungs cut a product into blocks: the text of both, which bring the tile.
 *
 *     enum { TILE_ROWS };                                         BF16_COLUMNS columns
 *     tile_direct(height, depth, a, a_row, b, &to)                a's pairs lie along its rows
 *     tile_packed(height, depth, a, b, &to)                       a is TILE_ROWS rows that tile_pack_a packed
 *     tile_pack_a(to, a, a_row, a_col, depth, rows)
 *     tiles_begin(), tiles_end()                                  around what one thread does
 *
 * A block of b, at most BLOCK bytes, stays in the second cache while all rows of a come by; what is packed of a, at most
 * PACKED bytes, serves all blocks of b. Sums stay in the tile for the whole of k up to DEEP, beyond it in float32 scratch,
 * and are rounded to bfloat16 once. Each thread packs for itself. An element's sum runs over k in order, whatever the number
 * of rows or threads.
 */
enum { DEEP = 4096, DEPTH = 2048, BLOCK = 384 << 10, MOST_SUMS = 512, PACKED = 3 << 19 };

/* How a product is cut. Pieces are row_pieces x column_pieces for each product of the batch. */
typedef struct grid {
    const step *step;
    matmul_shape shape;
    int64_t depth, block;            /* k and columns of a packed block of b; depth is even */
    int64_t sum_rows;                /* rows whose sums are kept in scratch at once; 0: none */
    int64_t packed_rows;             /* rows of a that are packed at once; 0: a's pairs are read where they lie */
    int64_t a_bytes, b_bytes, bytes; /* of one worker's scratch */
    int64_t row_pieces, column_pieces, rows, columns;
} grid;

/* ---- blocks ---- */

/* Of one product: where its matrices lie. */
typedef struct product {
    const grid *grid;
    const bf16 *a, *b;
    const void *c; /* in y's dtype; NULL: none */
    void *y;
    bool wide;
    bf16 *pack_a, *pack_b; /* this worker's */
    float *sums;
} product;

/* A block of the result over k [k, k + depth). */
typedef struct block {
    int64_t row, rows, column, columns, k, depth;
} block;

static bf16_target target_of(const product *p, const block *t, int64_t i, int64_t j)
{
    const grid *g = p->grid;
    int64_t at = (t->row + i) * g->shape.n + t->column + j;
    bool first = t->k == 0, last = t->k + t->depth == g->shape.k;
    float *sums = p->sums + i * g->block + j;
    bf16_target to = {.add_row = g->shape.n, .y_row = g->shape.n, .columns = bf16_columns(t->columns - j)};
    if (first && p->c && p->wide) to.add = (const float *)p->c + at;
    if (first && p->c && !p->wide) to.add_narrow = (const bf16 *)p->c + at;
    if (p->wide) {
        to.y = (float *)p->y + at;
        if (!first) to.add = to.y;
        return to;
    }
    if (!first) to.add = sums, to.add_row = g->block;
    if (last)
        to.narrow = (bf16 *)p->y + at;
    else
        to.y = sums, to.y_row = g->block;
    return to;
}

static void pack_a_block(const product *p, const block *t)
{
    const matmul_shape *s = &p->grid->shape;
    for (int64_t i = 0; p->grid->packed_rows && i < t->rows; i += TILE_ROWS)
        tile_pack_a(p->pack_a + i * bf16_round_up(t->depth, 2), p->a + (t->row + i) * s->a_row + t->k * s->a_col,
                    s->a_row, s->a_col, t->depth, MIN(TILE_ROWS, t->rows - i));
}

/* What the next block of b will be packed from comes into the second cache while this one is multiplied with, a few lines
 * before each tile: memory's latency is the only cost of packing that shows. */
typedef struct fetch {
    const char *at;
    int64_t runs, lines, stride; /* pieces of so many lines of 64 bytes, so many bytes apart */
    int64_t next, a_tile;        /* the line to be fetched next; how many before a tile */
} fetch;

static fetch fetch_of(const product *p, const block *t, int64_t columns_after)
{
    const matmul_shape *s = &p->grid->shape;
    int64_t columns = MIN(t->columns, columns_after - t->columns), rows_of_b = s->b_col == 1;
    fetch f = {.at = (const char *)(p->b + t->k * s->b_row + (t->column + t->columns) * s->b_col)};
    if (columns <= 0 || (s->b_col != 1 && s->b_row != 1)) return f;
    f.runs = rows_of_b ? t->depth : columns;
    f.lines = ((rows_of_b ? columns : t->depth) * 2 + 63) / 64;
    f.stride = (rows_of_b ? s->b_row : s->b_col) * 2;
    f.a_tile = f.runs * f.lines * TILE_ROWS * BF16_COLUMNS / (t->rows * t->columns) + 1;
    return f;
}

static inline void fetch_some(fetch *f)
{
    int64_t end = MIN(f->next + f->a_tile, f->runs * f->lines);
    int64_t run = f->lines ? f->next / f->lines : 0, line = f->next - run * f->lines;
    for (; f->next < end; f->next++) {
        _mm_prefetch(f->at + run * f->stride + line * 64, _MM_HINT_T1);
        if (++line == f->lines) line = 0, run++;
    }
}

static void run_block(const product *p, const block *t, int64_t columns_after)
{
    const grid *g = p->grid;
    const matmul_shape *s = &g->shape;
    int64_t pairs = (t->depth + 1) / 2;
    fetch ahead = fetch_of(p, t, columns_after);
    bf16_pack_b(p->pack_b, p->b + t->k * s->b_row + t->column * s->b_col, s->b_row, s->b_col, t->depth, t->columns);
    for (int64_t i = 0; i < t->rows; i += TILE_ROWS) {
        int64_t height = MIN(TILE_ROWS, t->rows - i);
        const bf16 *a = p->a + (t->row + i) * s->a_row + t->k * s->a_col;
        for (int64_t j = 0; j < t->columns; j += BF16_COLUMNS) {
            const bf16_target to = target_of(p, t, i, j);
            fetch_some(&ahead);
            const bf16 *b = p->pack_b + j * pairs * 2;
            if (g->packed_rows)
                tile_packed(height, t->depth, p->pack_a + i * pairs * 2, b, &to);
            else
                tile_direct(height, t->depth, a, s->a_row, b, &to);
        }
    }
}

/* k outside, so that a is packed once for all columns; inside where sums of a block wait in scratch. */
static void run_piece(const product *p, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    const grid *g = p->grid;
    int64_t all = g->shape.k, step = MIN(rows, g->packed_rows ? g->packed_rows : rows);
    if (g->sum_rows) step = MIN(step, g->sum_rows);
    for (int64_t i = 0; i < rows; i += step) {
        block t = {.row = row + i, .rows = MIN(step, rows - i)};
        for (int64_t k = 0; k < all && !g->sum_rows; k += g->depth) {
            t.k = k, t.depth = MIN(g->depth, all - k);
            pack_a_block(p, &t);
            for (int64_t j = 0; j < columns; j += g->block) {
                t.column = column + j, t.columns = MIN(g->block, columns - j);
                run_block(p, &t, columns - j);
            }
        }
        for (int64_t j = 0; j < columns && g->sum_rows; j += g->block) {
            t.column = column + j, t.columns = MIN(g->block, columns - j);
            for (int64_t k = 0; k < all; k += g->depth) {
                t.k = k, t.depth = MIN(g->depth, all - k);
                pack_a_block(p, &t);
                run_block(p, &t, t.columns);
            }
        }
    }
}

/* Sizes that scratch and launch agree on. m: rows, those of a batch that may be folded into rows among them. */
static void size_blocks(grid *g, int64_t m, int64_t n, int64_t k, bool packs_a, bool wide)
{
    g->depth = packs_a && wide ? MIN(bf16_round_up(k, 2), DEPTH / 2) : k <= DEEP ? bf16_round_up(k, 2) : DEPTH;
    g->block = MIN(MAX(BLOCK / 2 / g->depth / BF16_COLUMNS, 2) * BF16_COLUMNS, bf16_round_up(n, BF16_COLUMNS));
    g->sum_rows = !wide && k > g->depth ? MIN(MOST_SUMS, bf16_round_up(m, TILE_ROWS)) : 0;
    g->packed_rows = packs_a ? MIN(PACKED / 2 / g->depth / TILE_ROWS * TILE_ROWS, bf16_round_up(m, TILE_ROWS)) : 0;
    g->a_bytes = bf16_round_up(g->packed_rows * g->depth * 2 + 64, 64);
    g->b_bytes = g->depth * g->block * 2;
    g->bytes = g->a_bytes + g->b_bytes + bf16_round_up(g->sum_rows * g->block * 4, 64);
}

static void cut(grid *g, int64_t threads)
{
    const matmul_shape *p = &g->shape;
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    bool pieces = threads > 1 && p->batch < threads && flops > 4e5;
    /* Cutting rows makes each thread pack all of b; cutting columns, all of a where a must be packed. */
    bool by_rows = p->m >= p->n * (g->packed_rows ? 1 : 4);
    g->rows = pieces && by_rows ? bf16_round_up((p->m + threads - 1) / threads, TILE_ROWS) : p->m;
    g->columns = pieces && !by_rows ? bf16_round_up((p->n + threads - 1) / threads, BF16_COLUMNS) : p->n;
    g->row_pieces = (p->m + g->rows - 1) / g->rows;
    g->column_pieces = (p->n + g->columns - 1) / g->columns;
}

static void run_pieces(void *arg, int64_t first, int64_t last, int worker)
{
    const grid *g = arg;
    const step *s = g->step;
    char *memory = (char *)s->scratch + worker * g->bytes;
    tiles_begin();
    bool wide = s->out[0].dtype == INGOT_F32;
    int64_t each = g->row_pieces * g->column_pieces, size = g->shape.m * g->shape.n * (wide ? 4 : 2);
    for (int64_t at = first; at < last; at++) {
        int64_t batch = at / each, a_at, b_at;
        matmul_offsets(s, batch, &a_at, &b_at);
        product p = {.grid = g, .wide = wide, .pack_a = (bf16 *)memory, .pack_b = (bf16 *)(memory + g->a_bytes)};
        p.sums = (float *)(memory + g->a_bytes + g->b_bytes);
        p.a = (const bf16 *)s->in[0].data + a_at;
        p.b = (const bf16 *)s->in[1].data + b_at;
        p.y = (char *)s->out[0].data + batch * size;
        p.c = s->inputs > 2 && s->in[2].data ? (const char *)s->in[2].data + batch * size : NULL;
        int64_t row = at % each / g->column_pieces * g->rows, column = at % g->column_pieces * g->columns;
        run_piece(&p, row, MIN(g->rows, g->shape.m - row), column, MIN(g->columns, g->shape.n - column));
    }
    tiles_end();
}

static int64_t depth_of(const node *n)
{
    const shape *x = &n->in[0]->shape;
    return x->dim[x->rank - (ATTRS_OF(matmul_attrs, n)->trans_a ? 2 : 1)];
}

/* Products of bfloat16; c and y in bfloat16 or float32. */
static bool multiplies_bf16(const node *n)
{
    return n->in[0]->dtype == INGOT_BF16 && (n->out[0]->dtype == INGOT_BF16 || n->out[0]->dtype == INGOT_F32);
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    const shape *y = &n->out[0]->shape;
    int64_t columns = y->dim[y->rank - 1];
    grid g = {0};
    int64_t most = 0; /* where a lies is not known yet */
    for (int packs = 0; packs < 2; packs++) {
        size_blocks(&g, shape_count(*y) / columns, columns, depth_of(n), packs, n->out[0]->dtype == INGOT_F32);
        most = MAX(most, g.bytes);
    }
    return most * caps->threads;
}

static status launch(const step *s, queue *q)
{
    grid g = {.step = s, .shape = matmul_shape_of(s)};
    const shape *y = &s->out[0].shape;
    size_blocks(&g, shape_count(*y) / g.shape.n, g.shape.n, g.shape.k, g.shape.a_col != 1,
                s->out[0].dtype == INGOT_F32);
    cut(&g, cpu_threads(q));
    int64_t pieces = g.row_pieces * g.column_pieces * g.shape.batch;
    if (q->pool && pieces > 1)
        pool_for(q->pool, pieces, 1, run_pieces, &g);
    else
        run_pieces(&g, 0, pieces, 0);
    return INGOT_OK;
}
