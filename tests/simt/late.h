// What a thread, and its block, have asked for and not yet waited for. Nothing is left over from one block to the next.
#ifndef SIMT_LATE_H
#define SIMT_LATE_H

#include "simt.h"

#include <utility>
#include <vector>

namespace simt
{

// Work in groups, the oldest first; behind them what is not committed yet.
template <typename WORK> class groups
{
  public:
    void clear()
    {
        work_.clear(), ends_.clear();
    }
    void add(WORK work)
    {
        work_.push_back(std::move(work));
    }
    void commit()
    {
        ends_.push_back(work_.size());
    }
    // What is to be done so that only `left` groups are on their way.
    std::vector<WORK> take(size_t left)
    {
        std::vector<WORK> due;
        if (ends_.size() <= left) return due;
        size_t done = ends_.size() - left, count = ends_[done - 1];
        due.assign(work_.begin(), work_.begin() + (std::ptrdiff_t)count);
        work_.erase(work_.begin(), work_.begin() + (std::ptrdiff_t)count);
        ends_.erase(ends_.begin(), ends_.begin() + (std::ptrdiff_t)done);
        for (size_t &end : ends_) end -= count;
        return due;
    }

  private:
    std::vector<WORK> work_;
    std::vector<size_t> ends_;
};

// One for the block.
template <typename T> T &of_block()
{
    static thread_local uint64_t turn;
    static thread_local T one;
    if (turn != here().turn) turn = here().turn, one.clear();
    return one;
}

// One for each of its threads: here for the one that runs.
template <typename T> T &of_thread()
{
    struct each : std::vector<T> {
        void clear()
        {
            const extent &b = here().block_extent;
            this->resize((size_t)b.x * b.y * b.z);
            for (T &t : *this) t.clear();
        }
    };
    return of_block<each>()[here().index()];
}

} // namespace simt

#endif
