/* Blocks of a fixed length into scratch, then one sum over the blocks: the text of every CPU kernel of sum_squares. A
 * square of a float32 is exact in float64. */
enum { BLOCK = 8192, LANES = 64 }; /* as many sums as hide an addition's latency */

static int64_t block_count(int64_t elements)
{
    return (elements + BLOCK - 1) / BLOCK;
}

static int64_t sum_squares_scratch(const node *n, const device_caps *caps)
{
    (void)caps;
    return block_count(shape_count(n->in[0]->shape)) * (int64_t)sizeof(double);
}

static double sum_block(const float *x, int64_t count)
{
    double lane[LANES] = {0}, sum = 0;
    int64_t whole = count / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int64_t i = whole; i < count; i++) lane[i - whole] += (double)x[i] * (double)x[i];
    for (int j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

static void sum_blocks(const step *s, int64_t first, int64_t last, int worker)
{
    (void)worker;
    const float *x = s->in[0].data;
    int64_t elements = shape_count(s->in[0].shape);
    double *block = s->scratch;
    for (int64_t i = first; i < last; i++) block[i] = sum_block(x + i * BLOCK, MIN(BLOCK, elements - i * BLOCK));
}

static status sum_squares_launch(const step *s, queue *q)
{
    int64_t blocks = block_count(shape_count(s->in[0].shape));
    TRY(cpu_for(s, q, blocks, 8, sum_blocks));
    const double *block = s->scratch;
    double sum = 0;
    for (int64_t i = 0; i < blocks; i++) sum += block[i];
    f32(&s->out[0])[0] = (float)sum;
    return INGOT_OK;
}
