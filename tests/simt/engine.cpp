// Blocks on a few threads of this machine, the threads of a block as fibers.
//
// A fiber runs one thread of the block after another for as long as none of them waits, so that a kernel without barriers is a
// loop. SIMT_SEED=n: blocks, and threads that could go on, take turns by chance.
#include "simt.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

thread_local simt::extent threadIdx, blockIdx, blockDim, gridDim;

namespace simt
{

thread_local const place *now;

namespace
{

using boost::context::fiber;

enum { STACK_BYTES = 256 << 10, WARP = 32, BARRIERS = 16, PATIENCE_SECONDS = 120 };

using act_t = void (*)(void *const *);

struct runner {
    place where;
    fiber stack; // while it waits
    const char *waits_for = nullptr;
    unsigned mask = 0; // of the lanes that it waits for
    void *given = nullptr;
    act_t act = nullptr;
};

struct warp {
    runner *lane[WARP] = {};
    unsigned live = 0;
};

struct barrier {
    int arrived = 0;
    std::vector<runner *> waiting;
};

unsigned seed_of_tests()
{
    const char *seed = getenv("SIMT_SEED");
    return seed ? (unsigned)atoi(seed) : 0;
}

void no_act(void *const *)
{
}

// What holds the threads of a grid that has begun early.
class gate
{
  public:
    void close()
    {
        std::lock_guard<std::mutex> hold(lock_);
        closed_ = true, held_ = 0;
    }
    void open()
    {
        std::lock_guard<std::mutex> hold(lock_);
        closed_ = false;
        changes_.notify_all();
    }
    bool closed() const
    {
        return closed_;
    }
    void hold_block() // all of its threads wait
    {
        std::unique_lock<std::mutex> hold(lock_);
        held_++;
        changes_.notify_all();
        changes_.wait(hold, [this] { return !closed_; });
        held_--;
    }
    // Until `all` of the blocks that have begun are held. A grid that takes long to begin is not waited for.
    template <typename ALL> void wait_for_blocks(ALL all)
    {
        std::unique_lock<std::mutex> hold(lock_);
        changes_.wait_for(hold, std::chrono::seconds(1), [&] { return all(held_); });
    }
    void changed()
    {
        std::lock_guard<std::mutex> hold(lock_);
        changes_.notify_all();
    }

  private:
    std::mutex lock_;
    std::condition_variable changes_;
    std::atomic<bool> closed_{false};
    int held_ = 0;
};

// What one thread of this machine runs blocks with.
class multiprocessor
{
  public:
    multiprocessor(unsigned number, gate &g)
        : chance_(seed_of_tests() * 31 + number), shuffled_(seed_of_tests() != 0), gate_(g)
    {
        shared_ = (unsigned char *)std::aligned_alloc(1024, SHARED_BYTES);
    }
    void run_block(const launch &l, extent block, const std::function<void()> &thread);
    void give_way(const char *what);
    void ready(runner *r)
    {
        r->waits_for = nullptr;
        ready_.push_back(r);
    }
    void meet(int number, int threads, bool wait);
    void together(unsigned mask, void *mine, act_t act);
    void pause()
    {
        paused_.push_back(current_);
        give_way("another thread's value");
    }
    bool grids_ahead() const
    {
        return gate_.closed();
    }
    void *shared()
    {
        return shared_;
    }
    int live() const
    {
        return live_;
    }

  private:
    void begin(const launch &l, extent block);
    void carry();
    fiber new_fiber();
    void resume(fiber f);
    void end_of(runner *r);
    void release(barrier &b);
    bool complete(warp &w, unsigned mask);
    void take_turn();
    void enter(runner *r);
    void look_for_life();
    [[noreturn]] void stuck() const;

    std::mt19937 chance_;
    bool shuffled_;
    gate &gate_;
    unsigned char *shared_;
    const launch *launch_ = nullptr;
    const std::function<void()> *thread_ = nullptr;
    std::vector<runner> runners_;
    std::vector<unsigned> order_;
    uint64_t turn_ = 0;
    uint64_t events_ = 0, seen_ = 0; // barriers, collectives and ends
    std::chrono::steady_clock::time_point seen_at_;
    size_t fresh_ = 0; // the first in order_ that has not begun
    int live_ = 0;
    std::vector<warp> warps_;
    barrier barriers_[BARRIERS];
    std::deque<runner *> ready_;
    std::vector<runner *> paused_;
    std::vector<fiber> idle_;
    runner *current_ = nullptr; // none: the fiber that came back is idle
    fiber scheduler_;
    boost::context::pooled_fixedsize_stack stacks_{STACK_BYTES};
};

thread_local multiprocessor *self;

warp &warp_of(std::vector<warp> &warps, const runner *r)
{
    return warps[r->where.index() / WARP];
}

void multiprocessor::begin(const launch &l, extent block)
{
    size_t count = (size_t)l.block.x * l.block.y * l.block.z;
    launch_ = &l;
    turn_++;
    events_++;
    memset(shared_, 0xff, l.shared_bytes);
    if (runners_.size() != count) runners_ = std::vector<runner>(count);
    order_.resize(count);
    std::iota(order_.begin(), order_.end(), 0u);
    if (shuffled_) std::shuffle(order_.begin(), order_.end(), chance_);
    warps_.assign((count + WARP - 1) / WARP, warp());
    for (size_t i = 0; i < count; i++) {
        extent thread = {(unsigned)i % l.block.x, (unsigned)i / l.block.x % l.block.y,
                         (unsigned)i / (l.block.x * l.block.y)};
        runners_[i].where = {thread, block, l.block, l.grid, turn_};
        runners_[i].waits_for = nullptr;
        warps_[i / WARP].lane[i % WARP] = &runners_[i];
        warps_[i / WARP].live |= 1u << i % WARP;
    }
    for (barrier &b : barriers_) b.arrived = 0, b.waiting.clear();
    fresh_ = 0;
    live_ = (int)count;
}

void multiprocessor::end_of(runner *r)
{
    warp &w = warp_of(warps_, r);
    w.live &= ~(1u << r->where.lane());
    live_--;
    events_++;
    // Who waits for all waits for those that are left.
    if (live_ && barriers_[0].arrived == live_) release(barriers_[0]);
    for (int i = 0; i < WARP; i++)
        if (w.live >> i & 1 && w.lane[i]->mask) complete(w, w.lane[i]->mask);
}

void multiprocessor::enter(runner *r)
{
    current_ = r;
    now = &r->where;
    threadIdx = now->thread, blockIdx = now->block, blockDim = now->block_extent, gridDim = now->grid_extent;
}

// A fiber: threads that have not begun, one after another.
void multiprocessor::carry()
{
    for (;;) {
        while (fresh_ < order_.size()) {
            enter(&runners_[order_[fresh_++]]);
            (*thread_)();
            end_of(current_);
        }
        current_ = nullptr;
        scheduler_ = std::move(scheduler_).resume();
    }
}

fiber multiprocessor::new_fiber()
{
    return fiber(std::allocator_arg, stacks_, [this](fiber &&scheduler) {
        scheduler_ = std::move(scheduler);
        carry();
        return std::move(scheduler_);
    });
}

void multiprocessor::resume(fiber f)
{
    fiber back = std::move(f).resume();
    if (current_)
        current_->stack = std::move(back);
    else
        idle_.push_back(std::move(back));
}

void multiprocessor::take_turn()
{
    size_t at = shuffled_ ? chance_() % ready_.size() : 0;
    enter(ready_[at]);
    ready_.erase(ready_.begin() + (std::ptrdiff_t)at);
    resume(std::move(current_->stack));
}

// Threads that only look for values of others: some time nobody will write them.
void multiprocessor::look_for_life()
{
    auto time = std::chrono::steady_clock::now();
    if (gate_.closed() || seen_ != events_) seen_ = events_, seen_at_ = time;
    if (time - seen_at_ > std::chrono::seconds(PATIENCE_SECONDS)) stuck();
}

void multiprocessor::run_block(const launch &l, extent block, const std::function<void()> &thread)
{
    begin(l, block);
    thread_ = &thread;
    while (live_) {
        bool begins = fresh_ < order_.size() && (ready_.empty() || !shuffled_ || chance_() % 2);
        if (begins && idle_.empty()) {
            resume(new_fiber());
        } else if (begins) {
            fiber f = std::move(idle_.back());
            idle_.pop_back();
            resume(std::move(f));
        } else if (!ready_.empty()) {
            take_turn();
        } else if (!paused_.empty()) {
            look_for_life();
            if (gate_.closed())
                gate_.hold_block();
            else
                std::this_thread::yield();
            for (runner *r : paused_) ready(r);
            paused_.clear();
        } else {
            stuck();
        }
    }
}

void multiprocessor::give_way(const char *what)
{
    runner *mine = current_;
    mine->waits_for = what;
    scheduler_ = std::move(scheduler_).resume();
}

void multiprocessor::release(barrier &b)
{
    b.arrived = 0;
    for (runner *r : b.waiting) ready(r);
    b.waiting.clear();
}

void multiprocessor::meet(int number, int threads, bool wait)
{
    static const char *const names[BARRIERS] = {
        "barrier 0", "barrier 1", "barrier 2",  "barrier 3",  "barrier 4",  "barrier 5",  "barrier 6",  "barrier 7",
        "barrier 8", "barrier 9", "barrier 10", "barrier 11", "barrier 12", "barrier 13", "barrier 14", "barrier 15"};
    barrier &b = barriers_[number];
    events_++;
    if (++b.arrived == threads) {
        release(b);
        return;
    }
    if (!wait) return;
    b.waiting.push_back(current_);
    give_way(names[number]);
}

// Whether all live lanes of the mask are there; then what they came for is done.
bool multiprocessor::complete(warp &w, unsigned mask)
{
    void *given[WARP] = {};
    act_t act = nullptr;
    for (int i = 0; i < WARP; i++) {
        if (!((mask & w.live) >> i & 1)) continue;
        const runner *r = w.lane[i];
        if (r->mask != mask) return false;
        if (act && act != r->act) stuck();
        act = r->act;
        given[i] = r->given;
    }
    if (!act) return false;
    events_++;
    act(given);
    for (int i = 0; i < WARP; i++) {
        if (!((mask & w.live) >> i & 1)) continue;
        w.lane[i]->mask = 0;
        if (w.lane[i] != current_) ready(w.lane[i]);
    }
    return true;
}

void multiprocessor::together(unsigned mask, void *mine, act_t act)
{
    runner *r = current_;
    if (!(mask >> r->where.lane() & 1)) {
        fprintf(stderr, "simt: %s: a lane is not in its own mask\n", launch_->name);
        stuck();
    }
    r->mask = mask, r->given = mine, r->act = act;
    if (!complete(warp_of(warps_, r), mask)) give_way(act == no_act ? "its warp" : "what its warp does together");
}

void multiprocessor::stuck() const
{
    const extent &b = runners_[0].where.block;
    fprintf(stderr, "simt: %s: block %u,%u,%u cannot go on: %d of %zu threads have not ended\n", launch_->name, b.x,
            b.y, b.z, live_, runners_.size());
    for (size_t i = 0; i < runners_.size(); i++)
        if (runners_[i].waits_for && (!i || runners_[i].waits_for != runners_[i - 1].waits_for))
            fprintf(stderr, "  from thread %zu on: waits for %s, mask %08x\n", i, runners_[i].waits_for,
                    runners_[i].mask);
    abort();
}

class processors;
thread_local processors *machines_of_thread; // of a helper

// The machine's threads, and the grid that they share.
class processors
{
  public:
    processors()
    {
        for (unsigned i = 1; i < CLUSTER_BLOCKS; i++) std::thread([this, i] { work(i); }).detach();
    }
    // Early: `work` runs a grid; returns when all threads of it wait that can, or it has ended.
    void begin_early(std::function<void()> work)
    {
        gate_.close();
        early_ended_ = begun_ = false;
        {
            std::lock_guard<std::mutex> hold(lock_);
            early_ = std::move(work);
        }
        if (!helper_.joinable()) helper_ = std::thread([this] { help(); });
        begins_.notify_all();
        gate_.wait_for_blocks([this](int held) {
            if (!begun_) return early_ended_.load();
            size_t taken = std::min(next_.load(), count_), at_work = taken - (count_ - left_);
            return early_ended_ || ((size_t)held == at_work && (taken == count_ || at_work == width_));
        });
    }
    void end_early()
    {
        gate_.open();
        std::unique_lock<std::mutex> hold(lock_);
        ended_.wait(hold, [this] { return early_ended_.load(); });
    }
    void run(const launch &l, const std::function<void()> &thread)
    {
        std::lock_guard<std::mutex> one(one_grid_);
        size_t count = (size_t)l.grid.x * l.grid.y * l.grid.z;
        {
            std::lock_guard<std::mutex> hold(lock_);
            launch_ = &l, thread_ = &thread;
            put_in_order(l, count);
            width_ = l.cluster > 1 ? CLUSTER_BLOCKS : MULTIPROCESSORS;
            count_ = count, next_ = 0, left_ = count, begun_ = true;
            if (count > 1) grid_++;
        }
        if (count > 1) begins_.notify_all();
        take_blocks(0);
        std::unique_lock<std::mutex> hold(lock_);
        ended_.wait(hold, [this] { return left_ == 0 && busy_ == 0; });
        launch_ = nullptr;
    }

  private:
    // By chance if they are to be; the blocks of a cluster one behind the other.
    void put_in_order(const launch &l, size_t count)
    {
        if (l.cluster > 1 && (l.cluster > CLUSTER_BLOCKS || l.cluster != l.grid.z)) {
            fprintf(stderr, "simt: %s: clusters are along z of the grid, all of it\n", l.name);
            abort();
        }
        size_t together = l.cluster, clusters = count / together;
        order_.clear();
        if (!seed_ && together == 1) return;
        std::vector<size_t> chosen(clusters);
        std::iota(chosen.begin(), chosen.end(), size_t(0));
        if (seed_) std::shuffle(chosen.begin(), chosen.end(), chance_);
        for (size_t c : chosen)
            for (size_t z = 0; z < together; z++) order_.push_back(c + z * clusters);
    }
    void take_blocks(unsigned number)
    {
        if (!self) self = new multiprocessor(number, gate_); // as long as its thread
        for (size_t at; (at = next_++) < count_;) {
            size_t i = order_.empty() ? at : order_[at];
            const extent &g = launch_->grid;
            self->run_block(*launch_, {(unsigned)(i % g.x), (unsigned)(i / g.x % g.y), (unsigned)(i / g.x / g.y)},
                            *thread_);
            left_--;
            if (gate_.closed()) gate_.changed();
        }
    }
    void help()
    {
        machines_of_thread = this;
        for (;;) {
            std::function<void()> work;
            {
                std::unique_lock<std::mutex> hold(lock_);
                begins_.wait(hold, [this] { return early_ != nullptr; });
                work.swap(early_);
            }
            work();
            {
                std::lock_guard<std::mutex> hold(lock_);
                early_ended_ = true;
                ended_.notify_all();
            }
            gate_.changed();
        }
    }
    void work(unsigned number)
    {
        for (uint64_t seen = 0;;) {
            {
                std::unique_lock<std::mutex> hold(lock_);
                begins_.wait(hold, [&] { return launch_ && grid_ != seen; });
                seen = grid_;
                if (number >= width_) continue;
                busy_++;
            }
            take_blocks(number);
            std::lock_guard<std::mutex> hold(lock_);
            busy_--;
            ended_.notify_all();
        }
    }

    unsigned seed_ = seed_of_tests();
    std::mt19937 chance_{seed_};
    gate gate_;
    std::thread helper_;
    std::function<void()> early_;
    std::atomic<bool> early_ended_{true}, begun_{false};
    std::mutex one_grid_, lock_;
    std::condition_variable begins_, ended_;
    const launch *launch_ = nullptr;
    const std::function<void()> *thread_ = nullptr;
    std::vector<size_t> order_;
    size_t count_ = 0;
    std::atomic<size_t> next_{0}, left_{0};
    int busy_ = 0;
    unsigned width_ = MULTIPROCESSORS; // threads that this grid is spread over
    uint64_t grid_ = 0;
};

} // namespace

void run(const launch &l, const std::function<void()> &thread)
{
    static processors *all = new processors; // its threads end with the process
    (machines_of_thread ? machines_of_thread : all)->run(l, thread);
}

// Which of the two is free: used by one thread alone.
static processors *early_machines[2];
static bool early_busy[2];

early::early(std::function<void()> work)
{
    int i = early_busy[0];
    if (!early_machines[i]) early_machines[i] = new processors;
    early_busy[i] = true;
    machine_ = early_machines[i];
    early_machines[i]->begin_early(std::move(work));
}

early::~early()
{
    static_cast<processors *>(machine_)->end_early();
    early_busy[machine_ == early_machines[1]] = false;
}

bool grids_ahead()
{
    return self->grids_ahead();
}

void wait_for_grids_ahead()
{
    while (self->grids_ahead()) self->pause();
}

void *dynamic_shared()
{
    return self->shared();
}

void wait_for_block()
{
    self->meet(0, self->live(), true);
}

void meet(int barrier, int threads, bool wait)
{
    self->meet(barrier, threads, wait);
}

void wait_for_warp(unsigned mask)
{
    self->together(mask, nullptr, no_act);
}

void pause()
{
    self->pause();
}

void together(unsigned mask, void *mine, void (*act)(void *const *of_lanes))
{
    self->together(mask, mine, act);
}

} // namespace simt
