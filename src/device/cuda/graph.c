/* A program as a CUDA graph whose edges are what its steps need of one another.
 *
 * Each step is captured behind the steps that it must not overtake: those that write what it reads or writes, and those
 * that read what it writes, by the bytes of their tensors in planned memory. Steps with nothing in common run side by
 * side, and so do those that want only a step's first output and what that step does after it (queue_first_output_made).
 * What another dependency already implies is left out. The steps of a persistent launch are one here.
 */
#include "device/cuda/graph.h"

#include "graph/spans.h"

typedef struct touched {
    span *reads, *writes; /* one block of memory */
    int read_count, write_count;
    int leading;   /* writes that are done when the first outputs are made */
    bool reads_on; /* inputs are read after that as well */
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

static bool find_touched_rows(const step *s, const rowwise_run *run, touched *t)
{
    size_t reads = 0;
    for (int i = 0; i < run->count; i++) reads += (size_t)s[run->steps[i]].inputs;
    if (!make_room(t, run->count, reads)) return false;
    for (int i = 0; i < run->count; i++) add_touched(&s[run->steps[i]], t);
    return true;
}

static bool must_wait(const touched *later, const touched *earlier)
{
    return any_spans_meet(earlier->writes, earlier->write_count, later->reads, later->read_count) ||
           any_spans_meet(earlier->writes, earlier->write_count, later->writes, later->write_count) ||
           any_spans_meet(earlier->reads, earlier->read_count, later->writes, later->write_count);
}

/* What launches after the first outputs touch. */
static bool meets_rest(const touched *later, const touched *earlier)
{
    const span *rest = earlier->writes + earlier->leading;
    int count = earlier->write_count - earlier->leading;
    return any_spans_meet(rest, count, later->reads, later->read_count) ||
           any_spans_meet(rest, count, later->writes, later->write_count) ||
           (earlier->reads_on &&
            any_spans_meet(earlier->reads, earlier->read_count, later->writes, later->write_count));
}

/* By step: the nodes that a step which waits for it depends on. */
typedef struct leaves {
    cudaGraphNode_t *at;
    size_t count;
} leaves;

/* Nodes that another one comes after, and how. */
typedef struct nodes_behind {
    cudaGraphNode_t *at;
    cudaGraphEdgeData *edges;
    size_t count;
} nodes_behind;

/* What a step waits for. */
typedef struct wait {
    int64_t step;
    bool first; /* for the first outputs only */
} wait;

typedef struct graph_builder {
    device *d;
    const work *w;
    const persistent *persistent;
    cudaStream_t stream;
    cudaGraph_t graph;
    touched *touched;
    leaves *leaves, *first; /* first: of the launches that make the first outputs, where others follow */
    int64_t index;          /* of the step that is captured */
    status failed;
    uint64_t *behind;       /* by step, a bit set: the steps that it comes after */
    uint64_t *behind_first; /* and those of which it comes after the first outputs */
    int64_t words;
    bool overlap;
    nodes_behind now, all; /* what is captured comes behind; `all`: the step, while launches ahead of it are captured */
    wait *waits;           /* room for those of one step */
    uint64_t *ahead;       /* as behind and behind_first, of launches ahead of a step */
    status (*launch)(device *d, const work *one);
} graph_builder;

static bool has_bit(const uint64_t *set, int64_t i)
{
    return set[i / 64] >> (i % 64) & 1;
}

static void add_bit(uint64_t *set, int64_t i)
{
    set[i / 64] |= (uint64_t)1 << (i % 64);
}

/* The latest steps that what step `index` touches must wait for, in waits; those behind them need not be named. */
static int64_t find_waits(const graph_builder *b, int64_t index, const touched *of, uint64_t *behind,
                          uint64_t *behind_first)
{
    wait *waits = b->waits;
    int64_t count = 0;
    for (int64_t j = index - 1; j >= 0; j--) {
        if (has_bit(behind, j) || !must_wait(of, &b->touched[j])) continue;
        bool first = b->first[j].count && !meets_rest(of, &b->touched[j]);
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

void queue_first_outputs_made(const queue *q, int outputs)
{
    graph_builder *b = q->capture;
    if (!b) return;
    touched *t = &b->touched[b->index];
    t->leading = 0;
    t->reads_on = true;
    for (int i = 0; i < outputs; i++) t->leading += b->w->steps[b->index].out[i].data != NULL;
    queue_first_output_made(q);
}

static status begin_capture(graph_builder *b)
{
    return cuda_check(b->d->ctx,
                      cudaStreamBeginCaptureToGraph(b->stream, b->graph, b->now.count ? b->now.at : NULL,
                                                    b->now.count && b->overlap ? b->now.edges : NULL, b->now.count,
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
    for (size_t i = 0; i < b->now.count; i++) {
        enum cudaGraphNodeType type;
        cudaGraphEdgeData *edge = &b->now.edges[i];
        *edge = (cudaGraphEdgeData){0};
        if (!waits) continue;
        TRY(cuda_check(b->d->ctx, cudaGraphNodeGetType(b->now.at[i], &type), "capturing a step"));
        if (type != cudaGraphNodeTypeKernel) continue;
        edge->from_port = cudaGraphKernelNodePortProgrammatic;
        edge->type = cudaGraphDependencyTypeProgrammatic;
    }
    return INGOT_OK;
}

static void add_nodes(nodes_behind *to, const leaves *l)
{
    for (size_t k = 0; k < l->count; k++) {
        bool known = false;
        for (size_t i = 0; i < to->count; i++) known |= to->at[i] == l->at[k];
        if (!known) to->at[to->count++] = l->at[k];
    }
}

static void find_nodes(graph_builder *b, int64_t index, const touched *of, uint64_t *behind, uint64_t *behind_first)
{
    int64_t count = find_waits(b, index, of, behind, behind_first);
    b->now.count = 0;
    for (int64_t i = 0; i < count; i++)
        add_nodes(&b->now, b->waits[i].first ? &b->first[b->waits[i].step] : &b->leaves[b->waits[i].step]);
}

static void swap_nodes(graph_builder *b)
{
    nodes_behind now = b->now;
    b->now = b->all;
    b->all = now;
}

static status begin_ahead(graph_builder *b, unsigned inputs)
{
    const step *s = &b->w->steps[b->index];
    span reads[OP_MAX_INPUTS], scratch = {s->scratch, (const char *)s->scratch + s->scratch_bytes};
    touched of = {.reads = reads, .writes = &scratch, .write_count = s->scratch != NULL};
    for (int i = 0; i < s->inputs && i < OP_MAX_INPUTS; i++)
        if (inputs >> i & 1) reads[of.read_count++] = span_of(&s->in[i]);
    TRY(end_capture(b)); /* nothing is in it */
    swap_nodes(b);
    memset(b->ahead, 0, 2 * (size_t)b->words * sizeof *b->ahead);
    find_nodes(b, b->index, &of, b->ahead, b->ahead + b->words);
    TRY(choose_edges(b, b->index));
    return begin_capture(b);
}

void queue_ahead(const queue *q, unsigned inputs)
{
    graph_builder *b = q->capture;
    if (b && !b->failed) b->failed = begin_ahead(b, inputs);
    if (b && b->failed) (void)begin_capture(b); /* what is launched from here on is thrown away, not run */
}

static status end_ahead(graph_builder *b)
{
    leaves ahead = {0};
    status s = keep_leaves(b, &ahead), ended = end_capture(b);
    swap_nodes(b);
    add_nodes(&b->now, &ahead);
    free(ahead.at);
    if (!s) s = ended;
    if (!s) s = choose_edges(b, b->index);
    return s ? s : begin_capture(b);
}

void queue_ahead_done(const queue *q)
{
    graph_builder *b = q->capture;
    if (b && !b->failed) b->failed = end_ahead(b);
    if (b && b->failed) (void)begin_capture(b);
}

static status launch_at(graph_builder *b, int64_t index)
{
    const persistent_run *run = persistent_beginning(b->persistent, index);
    const rowwise_run *rows = rowwise_with(&b->persistent->rowwise, index);
    work one = {.name = b->w->name, .steps = &b->w->steps[index], .count = 1};
    const queue rest = {.stream = b->stream, .caps = b->d->caps, .capture = b};
    if (rows) return cuda_check(b->d->ctx, rowwise_start(rows, &rest), "capturing a launch of rows");
    if (!run) return b->launch(b->d, &one);
    return cuda_check(b->d->ctx, persistent_start(&run->launch, run->blocks, b->stream),
                      "capturing a persistent launch");
}

static status capture_step(graph_builder *b, int64_t index)
{
    find_nodes(b, index, &b->touched[index], b->behind + index * b->words, b->behind_first + index * b->words);
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
    status s = INGOT_OK;
    for (int64_t i = 0, together; i < steps && !s; i += together) {
        const persistent_run *run = persistent_beginning(b->persistent, i);
        const rowwise_run *rows = rowwise_with(&b->persistent->rowwise, i);
        together = run ? run->count : 1;
        if (rows && rows->steps[0] != i) continue; /* launched with the first of them */
        bool found = rows ? find_touched_rows(b->w->steps, rows, &b->touched[i])
                          : find_touched(&b->w->steps[i], together, &b->touched[i]);
        s = found ? capture_step(b, i) : fail_memory(b->d->ctx, "a CUDA graph", sizeof(span));
    }
    return s;
}

/* A step leaves a handful of nodes at most; most leave one. */
static bool make_nodes(nodes_behind *n, size_t steps)
{
    n->at = malloc(sizeof *n->at * (steps * 8 + 64));
    n->edges = malloc(sizeof *n->edges * (steps * 8 + 64));
    return n->at && n->edges;
}

static void free_builder(graph_builder *b)
{
    for (int64_t i = 0; b->leaves && i < b->w->count; i++) free(b->leaves[i].at);
    for (int64_t i = 0; b->first && i < b->w->count; i++) free(b->first[i].at);
    for (int64_t i = 0; b->touched && i < b->w->count; i++) free(b->touched[i].reads);
    free(b->now.at);
    free(b->now.edges);
    free(b->all.at);
    free(b->all.edges);
    free(b->waits);
    free(b->ahead);
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
    b.waits = malloc((steps + 1) * sizeof *b.waits);
    b.ahead = malloc(2 * (size_t)b.words * sizeof *b.ahead + 1);
    bool room = b.touched && b.leaves && b.first && b.behind && b.behind_first && b.waits && b.ahead;
    room = make_nodes(&b.now, steps) && make_nodes(&b.all, steps) && room;
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
