/* Finding the runs of steps that persistent launches do, and bringing their lists to the GPU. */
#include "device/cuda/persistent.h"

#include "device/cuda/persistent_build.h"

#define ALIGN 256

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Host memory that becomes one block of device memory: the barrier, counters, then the lists. */
typedef struct image {
    char *host, *device;
    size_t used;
} image;

static void *append(image *m, const void *from, size_t bytes)
{
    size_t at = m->used;
    if (from) memcpy(m->host + at, from, bytes);
    m->used += aligned(bytes);
    return m->device + at;
}

static void point_at_counters(stage_builder *b, unsigned *counters)
{
    for (int64_t i = 0; i < b->intervals.count; i++)
        for (int k = 0; k < STAGES_TOGETHER; k++) {
            stage *s = &b->intervals.at[i].stages[k];
            if (s->counters) s->operand[s->counters].at = counters;
        }
}

static void fill_image(image *m, stage_builder *b, stage_launch *l)
{
    l->barrier = append(m, NULL, 3 * sizeof(unsigned));
    l->tagged = append(m, NULL, (size_t)b->tagged * STAGE_TAGGED);
    point_at_counters(b, append(m, NULL, sizeof(unsigned) * (size_t)b->counted));
    l->intervals = append(m, b->intervals.at, sizeof(stage_interval) * (size_t)b->intervals.count);
    l->weights = append(m, b->weights.at, sizeof(stage_weights) * (size_t)b->weights.count);
    l->code = append(m, b->code.at, sizeof(stage_code) * (size_t)b->code.count);
    l->constants = append(m, b->constants.at, sizeof(stage_constant) * (size_t)b->constants.count);
    l->interval_count = (int32_t)b->intervals.count;
    l->weight_count = (int32_t)b->weights.count;
    l->code_count = (int32_t)b->code.count;
    l->constant_count = (int32_t)b->constants.count;
    l->dtype = b->dtype_known ? b->dtype : INGOT_F32;
}

/* The copy is waited for: one from memory that is not pinned may still be on its way when cudaMemcpy returns, and the stream of
 * programs does not wait for others. */
static status bring(device *d, const image *m, size_t bytes, cudaStream_t stream)
{
    TRY(cuda_check(d->ctx, cudaMemcpyAsync(m->device, m->host, bytes, cudaMemcpyHostToDevice, stream),
                   "writing memory"));
    return cuda_check(d->ctx, cudaStreamSynchronize(stream), "writing memory");
}

static status upload(device *d, stage_builder *b, cudaStream_t stream, persistent_run *run)
{
    size_t bytes = aligned(3 * sizeof(unsigned)) + aligned((size_t)b->tagged * STAGE_TAGGED) +
                   aligned(sizeof(unsigned) * (size_t)b->counted) +
                   aligned(sizeof(stage_interval) * (size_t)b->intervals.count) +
                   aligned(sizeof(stage_weights) * (size_t)b->weights.count) +
                   aligned(sizeof(stage_code) * (size_t)b->code.count) +
                   aligned(sizeof(stage_constant) * (size_t)b->constants.count);
    image m = {.host = calloc(1, bytes)};
    if (!m.host) return fail_memory(d->ctx, "a persistent launch", bytes);
    status s = cuda_check(d->ctx, cudaMalloc(&run->memory, bytes), "taking memory");
    m.device = run->memory;
    if (!s) fill_image(&m, b, &run->launch);
    if (!s) s = bring(d, &m, bytes, stream);
    free(m.host);
    return s;
}

/* As many steps from `first` on as one launch takes; kept where they are enough. */
static status find_run(device *d, const work *w, int64_t first, cudaStream_t stream, persistent *p, int64_t *taken)
{
    stage_builder b;
    int blocks = d->caps->multiprocessors;
    stage_builder_begin(&b, d->caps, blocks);
    while (first + b.steps < w->count && stage_builder_add(&b, &w->steps[first + b.steps])) {}
    status s = b.failed ? fail_memory(d->ctx, "a persistent launch", sizeof(stage_interval)) : INGOT_OK;
    *taken = b.steps;
    /* Without a product there is nothing to read ahead of; that is for tests. */
    bool enough = b.steps >= d->caps->persistent && (b.weights.count || d->caps->persistent == 1);
    if (!s && enough) {
        persistent_run run = {.first = first, .count = b.steps, .blocks = blocks};
        s = upload(d, &b, stream, &run);
        if (!ARRAY_PUSH(&p->runs, run)) {
            cudaFree(run.memory);
            s = fail_memory(d->ctx, "a persistent launch", sizeof run);
        }
    }
    stage_builder_free(&b);
    return s;
}

static bool has_room(void)
{
    static const ingot_dtype dtypes[] = {INGOT_F32, INGOT_BF16, INGOT_F16};
    bool has = true;
    for (int i = 0, room; i < 3 && has; i++) has = persistent_room(dtypes[i], &room) == cudaSuccess && room > 0;
    if (!has) (void)cudaGetLastError();
    return has;
}

static status find_rowwise(device *d, const work *w, int least, persistent *out)
{
    bool *taken = calloc((size_t)MAX(w->count, 1), sizeof *taken);
    if (!taken) return fail_memory(d->ctx, "a persistent launch", (uint64_t)w->count);
    for (int64_t i = 0; i < w->count; i++) taken[i] = persistent_with(out, i) != NULL;
    status s = rowwise_find(d, w, least, taken, &out->rowwise);
    free(taken);
    return s;
}

status persistent_find(device *d, const work *w, cudaStream_t stream, int rowwise, persistent *out)
{
    persistent_free(out);
    bool room = d->caps->persistent && has_room();
    for (int64_t i = 0, taken; i < w->count && room; i += MAX(taken, 1)) TRY(find_run(d, w, i, stream, out, &taken));
    return rowwise ? find_rowwise(d, w, rowwise, out) : INGOT_OK;
}

void persistent_free(persistent *p)
{
    for (int64_t i = 0; i < p->runs.count; i++) cudaFree(p->runs.at[i].memory);
    ARRAY_FREE(&p->runs);
    rowwise_free(&p->rowwise);
}

int64_t persistent_launch_of(const persistent *p, int64_t step)
{
    const persistent_run *run = persistent_with(p, step);
    const rowwise_run *rows = run ? NULL : rowwise_with(&p->rowwise, step);
    return run ? run->first : rows ? rows->steps[0] : -1;
}

const persistent_run *persistent_beginning(const persistent *p, int64_t step)
{
    const persistent_run *run = persistent_with(p, step);
    return run && run->first == step ? run : NULL;
}

const persistent_run *persistent_with(const persistent *p, int64_t step)
{
    for (int64_t i = 0; i < p->runs.count; i++)
        if (step >= p->runs.at[i].first && step < p->runs.at[i].first + p->runs.at[i].count) return &p->runs.at[i];
    return NULL;
}
