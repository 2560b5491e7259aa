// What the files of the harness's CUDA runtime share.
#ifndef SIMT_STATE_H
#define SIMT_STATE_H

#include "runtime.h"

#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace simt
{

enum { BYTES_WITHOUT_ASKING = 48 << 10, MOST_THREADS = 1024 };

struct event_marks {
    uint64_t recorded = 0, reached = 0; // calls of cudaEventRecord, and those that the stream has got to
    double ms = 0;                      // when it last did
};

// One of: work, a record of an event, a wait for one.
struct item {
    std::function<void()> work;
    std::shared_ptr<event_marks> records, waits;
    uint64_t turn = 0; // which record
};

std::recursive_mutex &lock();
// The first fault of a kernel, which nothing gets over; known when a call that waits has found it.
cudaError_t failure();
cudaError_t find_failure();
cudaError_t remember(cudaError_t e); // as the thread's last error
std::mt19937 *chance();              // null: no SIMT_SEED

// The device's thread does it; after a fault there it does nothing.
void on_device(std::function<void()> work);

void push(cudaStream_t stream, item next);
void push(cudaStream_t stream, std::function<void()> work, cudaGraphNodeType type);
void drain(cudaStream_t stream);
void drain_all();

bool thread_captures();
bool capturing(cudaStream_t stream);
void capture(cudaStream_t stream, std::function<void()> work, cudaGraphNodeType type);
void spoil_capture(cudaStream_t stream); // its end will say so

bool is_pinned(const void *at, size_t bytes);
bool is_device(const void *at, size_t bytes);

// Every function of the runtime: one at a time, none after a fault, its error is remembered.
template <class F> cudaError_t call(F body)
{
    std::lock_guard<std::recursive_mutex> hold(lock());
    return remember(failure() ? failure() : body());
}

// Those that wait or take memory are not for threads that capture.
template <class F> cudaError_t call_outside(F body)
{
    return call([&] { return thread_captures() ? cudaErrorStreamCaptureUnsupported : body(); });
}

} // namespace simt

struct CUevent_st {
    std::shared_ptr<simt::event_marks> marks = std::make_shared<simt::event_marks>();
    bool timed = true;
};

struct CUstream_st {
    std::deque<simt::item> items;
    cudaGraph_t graph = nullptr; // while it captures
    bool spoilt = false;
    std::vector<cudaGraphNode_t> tips; // what comes next depends on them
    std::vector<cudaGraphEdgeData> edges;
};

#endif
