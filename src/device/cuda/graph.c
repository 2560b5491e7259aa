/* A program as a CUDA graph whose edges are what its steps need of one another.
 *
 * Each step is captured behind the steps that it must not overtake: those that write what it reads or writes, and those
 * that read what it writes, by the bytes of their tensors in planned memory. Steps with nothing in common run side by
 * side. What another dependency already implies is left out. The steps of a persistent launch are one here.
 */
#include "device/cuda/graph.h"

#include "device/cuda/spans.h"

typedef struct touched {
    span *reads, *writes; /* one block of memory */
    int read_count, write_count;
} touched;

static void add_touched(const step *s, touched *t)
{
    for (int i = 0; i < s->inputs; i++)
        if (s->in[i].data) t->reads[t->read_count++] = span_of(&s->in[i]);
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (s->out[i].data) t->writes[t->write_count++] = span_of(&s->out[i]);
    if (s->scratch) t->writes[t->write_count++] = (span){s->scratch, (const char *)s->scratch + s->scratch_bytes};
}

static bool find_touched(const step *s, int64_t steps, touched *t)
{
    size_t reads = 1, writes = (size_t)steps * (NODE_MAX_OUTPUTS + 1);
    for (int64_t i = 0; i < steps; i++) reads += (size_t)s[i].inputs;
    t->reads = malloc(sizeof *t->reads * (reads + writes));
    if (!t->reads) return false;
    t->writes = t->reads + reads;
    for (int64_t i = 0; i < steps; i++) add_touched(&s[i], t);
    return true;
}

static bool meet(const span *a, int count, const span *b, int others)
{
    for (int i = 0; i < count; i++)
        for (int j = 0; j < others; j++)
            if (spans_meet(a[i], b[j])) return true;
    return false;
}

static bool must_wait(const touched *later, const touched *earlier)
{
    return meet(earlier->writes, earlier->write_count, later->reads, later->read_count) ||
           meet(earlier->writes, earlier->write_count, later->writes, later->write_count) ||
           meet(earlier->reads, earlier->read_count, later->writes, later->write_count);
}

/* By step: the nodes that a step which waits for it depends on. */
typedef struct leaves {
    cudaGraphNode_t *at;
    size_t count;
} leaves;

typedef struct builder {
    device *d;
    const work *w;
    const persistent *persistent;
    cudaStream_t stream;
    cudaGraph_t graph;
    touched *touched;
    leaves *leaves;
    uint64_t *behind; /* by step, a bit set: the steps that it comes after */
    int64_t words;
    bool overlap;
    cudaGraphEdgeData *edges; /* of the nodes that a step comes after */
    status (*launch)(device *d, const work *one);
} builder;

/* The latest steps that `index` must wait for, in waits; those behind them need not be named. */
static int64_t find_waits(builder *b, int64_t index, int64_t *waits)
{
    uint64_t *behind = b->behind + index * b->words;
    int64_t count = 0;
    for (int64_t j = index - 1; j >= 0; j--) {
        if (behind[j / 64] >> (j % 64) & 1 || !must_wait(&b->touched[index], &b->touched[j])) continue;
        waits[count++] = j;
        behind[j / 64] |= (uint64_t)1 << (j % 64);
        for (int64_t k = 0; k < b->words; k++) behind[k] |= b->behind[j * b->words + k];
    }
    return count;
}

static status keep_leaves(builder *b, int64_t index)
{
    enum cudaStreamCaptureStatus capturing;
    const cudaGraphNode_t *at = NULL;
    const cudaGraphEdgeData *edges = NULL; /* of a step without nodes: those that it began with */
    size_t count = 0;
    status s = cuda_check(b->d->ctx, cudaStreamGetCaptureInfo(b->stream, &capturing, NULL, NULL, &at, &edges, &count),
                          "capturing a step");
    leaves *l = &b->leaves[index];
    if (!s && count && !(l->at = malloc(count * sizeof(cudaGraphNode_t))))
        s = fail_memory(b->d->ctx, "a CUDA graph", count * sizeof(cudaGraphNode_t));
    for (size_t i = 0; !s && i < count; i++) l->at[i] = at[i];
    l->count = s ? 0 : count;
    return s;
}

/* From kernel to kernel, where the second waits by itself: it is launched when the first one says so or ends. */
static status choose_edges(builder *b, int64_t index, const cudaGraphNode_t *after, size_t nodes)
{
    bool waits =
        b->overlap && !persistent_beginning(b->persistent, index) && b->w->steps[index].kernel->traits & KERNEL_WAITS;
    for (size_t i = 0; i < nodes; i++) {
        enum cudaGraphNodeType type;
        b->edges[i] = (cudaGraphEdgeData){0};
        if (!waits) continue;
        TRY(cuda_check(b->d->ctx, cudaGraphNodeGetType(after[i], &type), "capturing a step"));
        if (type != cudaGraphNodeTypeKernel) continue;
        b->edges[i].from_port = cudaGraphKernelNodePortProgrammatic;
        b->edges[i].type = cudaGraphDependencyTypeProgrammatic;
    }
    return INGOT_OK;
}

static status launch_at(const builder *b, int64_t index)
{
    const persistent_run *run = persistent_beginning(b->persistent, index);
    work one = {.name = b->w->name, .steps = &b->w->steps[index], .count = 1};
    if (!run) return b->launch(b->d, &one);
    return cuda_check(b->d->ctx, persistent_start(&run->launch, run->blocks, b->stream),
                      "capturing a persistent launch");
}

static status capture_step(builder *b, int64_t index, int64_t *waits, cudaGraphNode_t *after)
{
    int64_t count = find_waits(b, index, waits);
    size_t nodes = 0;
    for (int64_t i = 0; i < count; i++)
        for (size_t k = 0; k < b->leaves[waits[i]].count; k++) {
            cudaGraphNode_t node = b->leaves[waits[i]].at[k];
            bool known = false;
            for (size_t m = 0; m < nodes; m++) known |= after[m] == node;
            if (!known) after[nodes++] = node;
        }
    TRY(choose_edges(b, index, after, nodes));
    TRY(cuda_check(b->d->ctx,
                   cudaStreamBeginCaptureToGraph(b->stream, b->graph, nodes ? after : NULL,
                                                 nodes && b->overlap ? b->edges : NULL, nodes,
                                                 cudaStreamCaptureModeThreadLocal),
                   "capturing a step"));
    status s = launch_at(b, index);
    if (!s) s = keep_leaves(b, index);
    cudaGraph_t graph = NULL;
    status ended = cuda_check(b->d->ctx, cudaStreamEndCapture(b->stream, &graph), "capturing a step");
    return s ? s : ended;
}

static status capture_all(builder *b)
{
    int64_t steps = b->w->count, *waits = malloc(sizeof *waits * (size_t)steps);
    /* A step leaves a handful of nodes at most; most leave one. */
    size_t most = (size_t)steps * 8 + 64;
    cudaGraphNode_t *after = malloc(sizeof *after * most);
    b->edges = malloc(sizeof *b->edges * most);
    status s = waits && after && b->edges ? INGOT_OK : fail_memory(b->d->ctx, "a CUDA graph", most * sizeof *after);
    for (int64_t i = 0, together; i < steps && !s; i += together) {
        const persistent_run *run = persistent_beginning(b->persistent, i);
        together = run ? run->count : 1;
        bool found = find_touched(&b->w->steps[i], together, &b->touched[i]);
        s = found ? capture_step(b, i, waits, after) : fail_memory(b->d->ctx, "a CUDA graph", sizeof(span));
    }
    free(waits);
    free(after);
    free(b->edges);
    return s;
}

status graph_capture(device *d, const work *w, const persistent *p, cudaStream_t stream,
                     status (*launch)(device *d, const work *one), bool overlap, cudaGraph_t *out)
{
    builder b = {.d = d,
                 .w = w,
                 .persistent = p,
                 .stream = stream,
                 .launch = launch,
                 .overlap = overlap,
                 .words = (w->count + 63) / 64};
    *out = NULL;
    TRY(cuda_check(d->ctx, cudaGraphCreate(&b.graph, 0), "making a CUDA graph"));
    b.touched = calloc((size_t)w->count, sizeof *b.touched);
    b.leaves = calloc((size_t)w->count, sizeof *b.leaves);
    b.behind = calloc((size_t)(w->count * b.words), sizeof *b.behind);
    status s = b.touched && b.leaves && b.behind ? capture_all(&b)
                                                 : fail_memory(d->ctx, "a CUDA graph", (uint64_t)(w->count * b.words));
    for (int64_t i = 0; b.leaves && i < w->count; i++) free(b.leaves[i].at);
    for (int64_t i = 0; b.touched && i < w->count; i++) free(b.touched[i].reads);
    free(b.touched);
    free(b.leaves);
    free(b.behind);
    if (s)
        cudaGraphDestroy(b.graph);
    else
        *out = b.graph;
    return s;
}
