// Streams and events, and the thread that stands for the device.
//
// That the device has a thread of its own makes its faults what they are on a GPU: an error of later calls. The thread which
// ran into one stays where it is.
#include "state.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <semaphore.h>
#include <thread>
#include <unistd.h>

using namespace simt;

namespace
{

// ---- the device's thread ----

std::atomic<int> failed{cudaSuccess};
int found; // what failed, once it is found
thread_local bool is_device_thread;

class device_thread
{
  public:
    device_thread()
    {
        sem_init(&begin_, 0, 0);
        sem_init(&end_, 0, 0);
        std::thread([this] { work(); }).detach();
    }
    void run(const std::function<void()> &work)
    {
        work_ = &work;
        sem_post(&begin_);
        while (sem_wait(&end_)) {}
    }
    void stop() // in signal handlers
    {
        sem_post(&end_);
        for (;;) ::pause();
    }

  private:
    void work()
    {
        for (is_device_thread = true;;) {
            while (sem_wait(&begin_)) {}
            try {
                (*work_)();
            } catch (const std::exception &e) {
                fprintf(stderr, "simt: %s\n", e.what());
                failed = cudaErrorLaunchFailure;
            }
            sem_post(&end_);
        }
    }
    sem_t begin_, end_;
    const std::function<void()> *work_ = nullptr;
};

device_thread *device;

void fault(int signal, siginfo_t *info, void *)
{
    if (!is_device_thread && !now) { // the host's own
        std::signal(signal, SIG_DFL);
        return;
    }
    const place where = now ? *now : place();
    fprintf(stderr, "simt: a fault at address %p in block %u,%u,%u, thread %u,%u,%u\n", info->si_addr, where.block.x,
            where.block.y, where.block.z, where.thread.x, where.thread.y, where.thread.z);
    int none = cudaSuccess;
    failed.compare_exchange_strong(none, signal == SIGILL ? cudaErrorIllegalInstruction : cudaErrorIllegalAddress);
    device->stop();
}

void start_device()
{
    struct sigaction on_fault = {};
    on_fault.sa_sigaction = fault;
    on_fault.sa_flags = SA_SIGINFO;
    for (int signal : {SIGSEGV, SIGBUS, SIGILL}) sigaction(signal, &on_fault, nullptr);
    device = new device_thread; // as long as the process
}

// ---- streams ----

CUstream_st first; // that of null

std::vector<cudaStream_t> &streams()
{
    static std::vector<cudaStream_t> all = {&first};
    return all;
}

cudaStream_t stream_of(cudaStream_t stream)
{
    return stream ? stream : &first;
}

double now_ms()
{
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool can_go_on(const CUstream_st *s)
{
    return !s->items.empty() && (!s->items[0].waits || s->items[0].waits->reached >= s->items[0].turn);
}

void take_item(cudaStream_t s)
{
    item next = std::move(s->items.front());
    s->items.pop_front();
    if (next.work) on_device(std::move(next.work));
    if (next.records) next.records->reached = std::max(next.records->reached, next.turn), next.records->ms = now_ms();
}

bool take_any()
{
    std::vector<cudaStream_t> ready;
    for (cudaStream_t s : streams())
        if (can_go_on(s)) ready.push_back(s);
    if (ready.empty()) return false;
    take_item(ready[chance() ? (*chance())() % ready.size() : 0]);
    return true;
}

template <class F> void work_until(F done)
{
    while (!done() && take_any()) {}
}

} // namespace

namespace simt
{

std::mt19937 *chance()
{
    static const char *seed = getenv("SIMT_SEED");
    static std::mt19937 numbers{seed ? (unsigned)atoi(seed) : 0};
    return seed && atoi(seed) ? &numbers : nullptr;
}

cudaError_t failure()
{
    return (cudaError_t)found;
}

cudaError_t find_failure()
{
    return (cudaError_t)(found = failed.load());
}

void on_device(std::function<void()> work)
{
    static std::once_flag started;
    std::call_once(started, start_device);
    if (failed) return;
    auto held = std::make_unique<std::function<void()>>(std::move(work));
    device->run(*held);
    if (failed) (void)held.release(); // other threads of the device may be at it still
}

// With a seed as much of what waits as chance has it, else all.
void push(cudaStream_t stream, item next)
{
    stream_of(stream)->items.push_back(std::move(next));
    if (!chance())
        drain_all();
    else
        for (size_t some = (*chance())() % 3; some > 0; some--) take_any();
}

void push(cudaStream_t stream, std::function<void()> work, cudaGraphNodeType type)
{
    if (capturing(stream)) return capture(stream, std::move(work), type);
    item next;
    next.work = std::move(work);
    push(stream, std::move(next));
}

void drain(cudaStream_t stream)
{
    work_until([&] { return stream_of(stream)->items.empty(); });
}

void drain_all()
{
    work_until([] { return false; });
}

bool capturing(cudaStream_t stream)
{
    return stream && stream->graph;
}

void enqueue(cudaStream_t stream, std::function<void()> work, bool kernel)
{
    call([&] {
        push(stream, std::move(work), kernel ? cudaGraphNodeTypeKernel : cudaGraphNodeTypeHost);
        return cudaSuccess;
    });
}

} // namespace simt

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    return call([&] {
        streams().push_back(*out = new CUstream_st);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    return call([&] {
        drain(stream);
        std::erase(streams(), stream);
        delete stream;
        return cudaSuccess;
    });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    return call_outside([&] {
        drain(stream);
        return find_failure();
    });
}

cudaError_t cudaDeviceSynchronize()
{
    return call_outside([] {
        drain_all();
        return find_failure();
    });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    *out = new CUevent_st;
    (*out)->timed = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return call([&] {
        delete event; // what still waits for it has its marks
        return cudaSuccess;
    });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return call([&] {
        if (capturing(stream)) return cudaErrorStreamCaptureUnsupported;
        item next;
        next.records = event->marks;
        next.turn = ++event->marks->recorded;
        push(stream, std::move(next));
        return cudaSuccess;
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    return call([&] {
        if (capturing(stream)) return cudaErrorStreamCaptureUnsupported;
        item next;
        next.waits = event->marks;
        next.turn = event->marks->recorded;
        push(stream, std::move(next));
        return cudaSuccess;
    });
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return call_outside([&] {
        const event_marks &m = *event->marks;
        return m.reached < m.recorded ? cudaErrorNotReady : find_failure();
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    return call_outside([&] {
        const event_marks &m = *event->marks;
        work_until([&] { return m.reached >= m.recorded; });
        return find_failure();
    });
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    return call([&] {
        const event_marks &a = *from->marks, &b = *to->marks;
        if (!from->timed || !to->timed || !a.recorded || !b.recorded) return cudaErrorInvalidResourceHandle;
        if (a.reached < a.recorded || b.reached < b.recorded) return cudaErrorNotReady;
        *ms = (float)(b.ms - a.ms);
        return cudaSuccess;
    });
}
