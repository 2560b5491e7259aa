// Capturing a stream into a graph, and graphs.
//
// Nodes run one at a time, in the order of their capture or, with SIMT_SEED=n, in any that their edges allow. A node
// whose edge is from within the kernel ahead of it (programmatic) begins before that one does, and is held where it waits.
#include "state.h"

#include <algorithm>
#include <memory>
#include <set>

using namespace simt;

struct CUgraphNode_st {
    cudaGraphNodeType type;
    std::shared_ptr<const std::function<void()>> work;
    std::vector<cudaGraphNode_t> after;
    std::vector<bool> early; // by `after`: it may begin before that one has ended
    size_t index;            // in its graph
};

struct CUgraph_st {
    std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
    bool lent = false; // to a stream that captures
};

struct CUgraphExec_st {
    std::vector<std::shared_ptr<const std::function<void()>>> work;
    std::vector<std::vector<size_t>> before;   // by node: those that come after it
    std::vector<int> waits;                    // for how many
    std::set<std::pair<size_t, size_t>> early; // the second may begin before the first has ended
};

namespace
{

thread_local int captures_of_thread;

bool in_graph(const CUgraph_st *graph, const CUgraphNode_st *node)
{
    return node->index < graph->nodes.size() && graph->nodes[node->index].get() == node;
}

bool is_programmatic(const cudaGraphEdgeData &e)
{
    return e.type == cudaGraphDependencyTypeProgrammatic;
}

// What the driver takes: full edges, and those from within kernels to kernels.
bool is_good_edge(const CUgraphNode_st *from, cudaGraphNodeType to, const cudaGraphEdgeData &e)
{
    if (!is_programmatic(e)) return e.type == cudaGraphDependencyTypeDefault && !e.from_port && !e.to_port;
    return from->type == cudaGraphNodeTypeKernel && to == cudaGraphNodeTypeKernel && e.from_port;
}

// The nodes in an order that they could run in.
std::vector<size_t> order_of(const CUgraphExec_st *g)
{
    std::vector<size_t> order, ready;
    std::vector<int> waits = g->waits;
    for (size_t i = 0; i < waits.size(); i++)
        if (!waits[i]) ready.push_back(i);
    while (!ready.empty()) {
        auto next = chance() ? ready.begin() + (std::ptrdiff_t)((*chance())() % ready.size())
                             : std::min_element(ready.begin(), ready.end());
        size_t node = *next;
        ready.erase(next);
        order.push_back(node);
        for (size_t later : g->before[node])
            if (!--waits[later]) ready.push_back(later);
    }
    return order;
}

} // namespace

namespace simt
{

bool thread_captures()
{
    return captures_of_thread > 0;
}

void next_begins_early(cudaStream_t stream)
{
    if (!stream || !capturing(stream)) return;
    for (size_t i = 0; i < stream->tips.size(); i++)
        if (stream->tips[i]->type == cudaGraphNodeTypeKernel) {
            stream->edges[i].type = cudaGraphDependencyTypeProgrammatic;
            stream->edges[i].from_port = cudaGraphKernelNodePortProgrammatic;
        }
}

void spoil_capture(cudaStream_t stream)
{
    stream->spoilt = true;
}

void capture(cudaStream_t stream, std::function<void()> work, cudaGraphNodeType type)
{
    CUgraph_st *graph = stream->graph;
    auto node = std::make_unique<CUgraphNode_st>();
    node->type = type;
    node->work = std::make_shared<const std::function<void()>>(std::move(work));
    node->after = stream->tips;
    node->index = graph->nodes.size();
    for (const cudaGraphEdgeData &e : stream->edges) node->early.push_back(is_programmatic(e));
    for (size_t i = 0; i < stream->tips.size(); i++)
        if (!is_good_edge(stream->tips[i], type, stream->edges[i])) {
            spoil_capture(stream);
            remember(cudaErrorInvalidValue);
        }
    stream->tips = {node.get()};
    stream->edges.assign(1, {});
    graph->nodes.push_back(std::move(node));
}

} // namespace simt

cudaError_t cudaGraphCreate(cudaGraph_t *out, unsigned)
{
    *out = new CUgraph_st;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return call([&] {
        delete graph;
        return cudaSuccess;
    });
}

cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t stream, cudaGraph_t graph, const cudaGraphNode_t *after,
                                          const cudaGraphEdgeData *edges, size_t count, cudaStreamCaptureMode)
{
    return call([&] {
        if (!stream || capturing(stream) || graph->lent) return cudaErrorIllegalState;
        for (size_t i = 0; i < count; i++)
            if (!in_graph(graph, after[i]) || std::find(after, after + i, after[i]) != after + i)
                return cudaErrorInvalidValue;
        stream->graph = graph;
        stream->spoilt = false;
        stream->tips.assign(after, after + count);
        stream->edges.assign(count, {});
        if (edges) stream->edges.assign(edges, edges + count);
        graph->lent = true;
        captures_of_thread++;
        return cudaSuccess;
    });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    return call([&] {
        *out = nullptr;
        if (!capturing(stream)) return cudaErrorIllegalState;
        captures_of_thread--;
        stream->graph->lent = false;
        if (!stream->spoilt) *out = stream->graph;
        stream->graph = nullptr;
        return *out ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
    });
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus *status, unsigned long long *id,
                                     cudaGraph_t *graph, const cudaGraphNode_t **tips, const cudaGraphEdgeData **edges,
                                     size_t *count)
{
    return call([&] {
        bool is = capturing(stream);
        *status = !is              ? cudaStreamCaptureStatusNone
                  : stream->spoilt ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
        if (id) *id = is ? (unsigned long long)(uintptr_t)stream : 0;
        if (graph) *graph = is ? stream->graph : nullptr;
        if (!is) return cudaSuccess;
        // Else an edge that is not a full one would be lost.
        bool any = std::any_of(stream->edges.begin(), stream->edges.end(), is_programmatic);
        if (tips && any && !edges) return cudaErrorLossyQuery;
        if (tips) *tips = stream->tips.data();
        if (edges) *edges = stream->edges.data();
        if (count) *count = stream->tips.size();
        return cudaSuccess;
    });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    return call([&] {
        for (size_t i = 0; nodes && i < *count && i < graph->nodes.size(); i++) nodes[i] = graph->nodes[i].get();
        *count = graph->nodes.size();
        return cudaSuccess;
    });
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType *type)
{
    *type = node->type;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    return call([&] {
        size_t count = graph->nodes.size();
        auto made = std::make_unique<CUgraphExec_st>();
        made->before.resize(count);
        for (const auto &node : graph->nodes) {
            made->work.push_back(node->work);
            made->waits.push_back((int)node->after.size());
            for (size_t i = 0; i < node->after.size(); i++) {
                made->before[node->after[i]->index].push_back(node->index);
                if (node->early[i]) made->early.insert({node->after[i]->index, node->index});
            }
        }
        *out = made.release();
        return cudaSuccess;
    });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t g, cudaStream_t stream)
{
    return call([&] {
        if (capturing(stream)) return cudaErrorStreamCaptureUnsupported;
        std::vector<size_t> order = order_of(g);
        auto begun = std::make_shared<std::unique_ptr<early>>();
        for (size_t k = 0; k < order.size(); k++) {
            bool early_one = k + 1 < order.size() && g->early.count({order[k], order[k + 1]});
            item next;
            next.work = [begun, mine = g->work[order[k]], soon = early_one ? g->work[order[k + 1]] : nullptr] {
                auto now = std::move(*begun);
                if (soon) *begun = std::make_unique<early>([soon] { (*soon)(); });
                if (!now) (*mine)(); // else it goes on, to its end, here
            };
            push(stream, std::move(next));
        }
        return cudaSuccess;
    });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g)
{
    return call([&] {
        delete g;
        return cudaSuccess;
    });
}
