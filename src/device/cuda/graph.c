/* A program as a CUDA graph whose edges are what its steps need of one another.
 *
 * Each step is captured behind the steps that it must not overtake: those that write what it reads or writes, and those
 * that read what it writes, by the bytes of their tensors in planned memory. Steps with nothing in common run side by
 * side, and so do those that want only a step's first output and what that step does after it (queue_first_output_made). What another dependency already implies is left out. The steps of a persistent launch are one here.
 */
#include "device/cuda/graph.h"

#include "device/cuda/spans.h"

typedef struct touched {
    span *reads, *writes; /* one block of memory */
    int read_count, write_count;
    int leading; /* writes that are done when the first output is made */
} touched;

static void add_touched(const step *s, touched *t)
{
    t->leading = s->out[0].data && !t->write_count;
    for (int i = 0; i < s->inputs; i++)
        if (s->in[i].data) t->reads[t->read_count++] = span_of(&s->in[i]);
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (s->out[i].data) t->writes[t->write_count++] = span_of(&s->out[i]);
    if (s->scratch) t->writes[t->write_count++] = (span){s->scratch, (const char *)s->scratch + s->scratch_bytes};
}

static bool make_room(touched *t, int64_t steps, size_t reads)
{
    size_t writes = (size_t)steps * (NODE_MAX_OUTPUTS + 1);
    t->reads = malloc(sizeof *t->reads * (reads + 1 + writes));
    t->writes = t->reads + reads + 1;
    return t->reads != NULL;
}

static bool find_touched(const step *s, int64_t steps, touched *t)
{
    size_t reads = 0;
    for (int64_t i = 0; i < steps; i++) reads += (size_t)s[i].inputs;
    if (!make_room(t, steps, reads)) return false;
    for (int64_t i = 0; i < steps; i++) add_touched(&s[i], t);
    return true;
}

static bool is_of_sums(const rowwise_run *run, const span *at)
{
    for (int i = 0; i < run->sum_count; i++)
        if (at->from == run->sums[i].sum || at->from == (const char *)run->sums[i].partial) return true;
    return false;
}

/* Of a rowwise launch: what the sums behind it write comes last. */
static bool find_touched_rows(const step *s, const rowwise_run *run, touched *t)
{
    size_t reads = 0;
    for (int i = 0; i < run->count; i++) reads += (size_t)s[run->steps[i]].inputs;
    if (!make_room(t, run->count, reads)) return false;
    for (int i = 0; i < run->count; i++) add_touched(&s[run->steps[i]], t);
    t->leading = 0;
    for (int i = 0; i < t->write_count; i++) {
        span at = t->writes[i];
        if (is_of_sums(run, &at)) continue;
        t->writes[i] = t->writes[t->leading];
        t->writes[t->leading++] = at;
    }
    return true;
}

static bool must_wait(const touched *later, const touched *earlier)
{
    return any_spans_meet(earlier->writes, earlier->write_count, later->reads, later->read_count) ||
           any_spans_meet(earlier->writes, earlier->write_count, later->writes, later->write_count) ||
           any_spans_meet(earlier->reads, earlier->read_count, later->writes, later->write_count);
}

/* What launches after the first output write. */
static bool meets_rest(const touched *later, const touched *earlier)
{
    const span *rest = earlier->writes + earlier->leading;
    int count = earlier->write_count - earlier->leading;
    return any_spans_meet(rest, count, later->reads, later->read_count) ||
           any_spans_meet(rest, count, later->writes, later->write_count);
}

/* By step: the nodes that a step which waits for it depends on. */
typedef struct leaves {
    cudaGraphNode_t *at;
    size_t count;
} leaves;

typedef struct graph_builder {
    device *d;
    const work *w;
    const persistent *persistent;
    cudaStream_t stream;
    cudaGraph_t graph;
    touched *touched;
    leaves *leaves, *first; /* first: of the launches that make the first output, where others follow */
    int64_t index;          /* of the step that is captured */
    status failed;
    uint64_t *behind;       /* by step, a bit set: the steps that it comes after */
    uint64_t *behind_first; /* and those of which it comes after the first output */
    int64_t words;
    bool overlap;
    cudaGraphEdgeData *edges; /* of the nodes that a step comes after */
    cudaGraphNode_t *after;   /* those of the step that is captured */
    size_t nodes;
    status (*launch)(device *d, const work *one);
} graph_builder;

/* What a step waits for. */
typedef struct wait {
    int64_t step;
    bool first; /* for the first output only */
} wait;

static bool has_bit(const uint64_t *set, int64_t i)
{
    return set[i / 64] >> (i % 64) & 1;
}

static void add_bit(uint64_t *set, int64_t i)
{
    set[i / 64] |= (uint64_t)1 << (i % 64);
}

/* The latest steps that `index` must wait for, in waits; those behind them need not be named. */
static int64_t find_waits(graph_builder *b, int64_t index, wait *waits)
{
    uint64_t *behind = b->behind + index * b->words, *behind_first = b->behind_first + index * b->words;
    int64_t count = 0;
    for (int64_t j = index - 1; j >= 0; j--) {
        if (has_bit(behind, j) || !must_wait(&b->touched[index], &b->touched[j])) continue;
        bool first = b->first[j].count && !meets_rest(&b->touched[index], &b->touched[j]);
        if (first && has_bit(behind_first, j)) continue;
        waits[count++] = (wait){j, first};
        if (!first) add_bit(behind, j);
        add_bit(behind_first, j);
        for (int64_t k = 0; k < b->words; k++) {
            behind[k] |= b->behind[j * b->words + k];
            behind_first[k] |= b->behind_first[j * b->words + k];
        }
    }
    return count;
}

/* Behind those that l has already. */
static status keep_leaves(const graph_builder *b, leaves *l)
{
    enum cudaStreamCaptureStatus capturing;
    const cudaGraphNode_t *at = NULL;
    const cudaGraphEdgeData *edges = NULL; /* of a step without nodes: those that it began with */
    size_t count = 0;
    status s = cuda_check(b->d->ctx, cudaStreamGetCaptureInfo(b->stream, &capturing, NULL, NULL, &at, &edges, &count),
                          "capturing a step");
    cudaGraphNode_t *all = s ? NULL : realloc(l->at, (l->count + count + 1) * sizeof(cudaGraphNode_t));
    if (!s && !all) s = fail_memory(b->d->ctx, "a CUDA graph", count * sizeof(cudaGraphNode_t));
    if (s) return s;
    l->at = all;
    for (size_t i = 0; i < count; i++) all[l->count++] = at[i];
    return INGOT_OK;
}

void queue_first_output_made(const queue *q)
{
    graph_builder *b = q->capture;
    if (b && !b->failed && !b->first[b->index].count) b->failed = keep_leaves(b, &b->first[b->index]);
}

static status begin_capture(graph_builder *b)
{
    return cuda_check(b->d->ctx,
                      cudaStreamBeginCaptureToGraph(b->stream, b->graph, b->nodes ? b->after : NULL,
                                                    b->nodes && b->overlap ? b->edges : NULL, b->nodes,
                                                    cudaStreamCaptureModeThreadLocal),
                      "capturing a step");
}

static status end_capture(graph_builder *b)
{
    cudaGraph_t graph = NULL;
    return cuda_check(b->d->ctx, cudaStreamEndCapture(b->stream, &graph), "capturing a step");
}

/* From kernel to kernel, where the second waits by itself: it is launched when the first one says so or ends. */
static status choose_edges(graph_builder *b, int64_t index)
{
    bool waits = b->overlap &&
                 (rowwise_with(&b->persistent->rowwise, index) ||
                  (!persistent_beginning(b->persistent, index) && b->w->steps[index].kernel->traits & KERNEL_WAITS));
    for (size_t i = 0; i < b->nodes; i++) {
        enum cudaGraphNodeType type;
        b->edges[i] = (cudaGraphEdgeData){0};
        if (!waits) continue;
        TRY(cuda_check(b->d->ctx, cudaGraphNodeGetType(b->after[i], &type), "capturing a step"));
        if (type != cudaGraphNodeTypeKernel) continue;
        b->edges[i].from_port = cudaGraphKernelNodePortProgrammatic;
        b->edges[i].type = cudaGraphDependencyTypeProgrammatic;
    }
    return INGOT_OK;
}

static status launch_rows(graph_builder *b, const rowwise_run *run)
{
    const queue q = {.stream = b->stream, .caps = b->d->caps, .capture = b};
    TRY(cuda_check(b->d->ctx, rowwise_start(run, &q), "capturing a launch of rows"));
    if (run->sum_count) queue_first_output_made(&q);
    return cuda_check(b->d->ctx, rowwise_add_sums(run, &q), "capturing a launch of rows");
}

static status launch_at(graph_builder *b, int64_t index)
{
    const persistent_run *run = persistent_beginning(b->persistent, index);
    const rowwise_run *rows = rowwise_with(&b->persistent->rowwise, index);
    work one = {.name = b->w->name, .steps = &b->w->steps[index], .count = 1};
    if (rows) return launch_rows(b, rows);
    if (!run) return b->launch(b->d, &one);
    return cuda_check(b->d->ctx, persistent_start(&run->launch, run->blocks, b->stream),
                      "capturing a persistent launch");
}

static void find_after(graph_builder *b, int64_t index, wait *waits)
{
    int64_t count = find_waits(b, index, waits);
    b->nodes = 0;
    for (int64_t i = 0; i < count; i++) {
        const leaves *l = waits[i].first ? &b->first[waits[i].step] : &b->leaves[waits[i].step];
        for (size_t k = 0; k < l->count; k++) {
            cudaGraphNode_t node = l->at[k];
            bool known = false;
            for (size_t m = 0; m < b->nodes; m++) known |= b->after[m] == node;
            if (!known) b->after[b->nodes++] = node;
        }
    }
}

static status capture_step(graph_builder *b, int64_t index, wait *waits)
{
    find_after(b, index, waits);
    TRY(choose_edges(b, index));
    TRY(begin_capture(b));
    b->index = index;
    status s = launch_at(b, index);
    if (!s) s = b->failed;
    if (!s) s = keep_leaves(b, &b->leaves[index]);
    status ended = end_capture(b);
    return s ? s : ended;
}

static status capture_all(graph_builder *b)
{
    int64_t steps = b->w->count;
    wait *waits = malloc(sizeof *waits * (size_t)steps);
    /* A step leaves a handful of nodes at most; most leave one. */
    size_t most = (size_t)steps * 8 + 64;
    b->after = malloc(sizeof *b->after * most);
    b->edges = malloc(sizeof *b->edges * most);
    status s =
        waits && b->after && b->edges ? INGOT_OK : fail_memory(b->d->ctx, "a CUDA graph", most * sizeof *b->after);
    for (int64_t i = 0, together; i < steps && !s; i += together) {
        const persistent_run *run = persistent_beginning(b->persistent, i);
        const rowwise_run *rows = rowwise_with(&b->persistent->rowwise, i);
        together = run ? run->count : 1;
        if (rows && rows->steps[0] != i) continue; /* launched with the first of them */
        bool found = rows ? find_touched_rows(b->w->steps, rows, &b->touched[i])
                          : find_touched(&b->w->steps[i], together, &b->touched[i]);
        s = found ? capture_step(b, i, waits) : fail_memory(b->d->ctx, "a CUDA graph", sizeof(span));
    }
    free(waits);
    free(b->after);
    free(b->edges);
    return s;
}

static void free_builder(graph_builder *b)
{
    for (int64_t i = 0; b->leaves && i < b->w->count; i++) free(b->leaves[i].at);
    for (int64_t i = 0; b->first && i < b->w->count; i++) free(b->first[i].at);
    for (int64_t i = 0; b->touched && i < b->w->count; i++) free(b->touched[i].reads);
    free(b->touched);
    free(b->leaves);
    free(b->first);
    free(b->behind);
    free(b->behind_first);
}

status graph_capture(device *d, const work *w, const persistent *p, queue *q,
                     status (*launch)(device *d, const work *one), bool overlap, cudaGraph_t *out)
{
    graph_builder b = {.d = d,
                       .w = w,
                       .persistent = p,
                       .stream = q->stream,
                       .launch = launch,
                       .overlap = overlap,
                       .words = (w->count + 63) / 64};
    size_t steps = (size_t)w->count, words = (size_t)(w->count * b.words);
    *out = NULL;
    TRY(cuda_check(d->ctx, cudaGraphCreate(&b.graph, 0), "making a CUDA graph"));
    b.touched = calloc(steps, sizeof *b.touched);
    b.leaves = calloc(steps, sizeof *b.leaves);
    b.first = calloc(steps, sizeof *b.first);
    b.behind = calloc(words, sizeof *b.behind);
    b.behind_first = calloc(words, sizeof *b.behind_first);
    bool room = b.touched && b.leaves && b.first && b.behind && b.behind_first;
    q->capture = &b;
    status s = room ? capture_all(&b) : fail_memory(d->ctx, "a CUDA graph", words);
    q->capture = NULL;
    free_builder(&b);
    if (s)
        cudaGraphDestroy(b.graph);
    else
        *out = b.graph;
    return s;
}
