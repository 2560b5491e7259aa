// SIMT on the CPU: what a kernel's threads need of the machine that runs them, for tests of device code where there is no GPU.
//
//     simt::run({grid, block, bytes, "scale"}, [=] { scale(y, x, n); });   // once for each thread of the grid
//
// The blocks of a grid are spread over a few threads of this machine, each of which has one block at a time; the threads of
// a block are fibers that change places only where they wait. What is static and `__shared__` belongs to the machine's
// thread. A block that cannot go on, because its threads wait in different places, is an error with both places.
#ifndef SIMT_SIMT_H
#define SIMT_SIMT_H

#include <cstddef>
#include <cstdint>
#include <functional>

namespace simt
{

struct extent {
    unsigned x = 1, y = 1, z = 1;
};

} // namespace simt

// Of the thread that runs, as kernels name them.
extern thread_local simt::extent threadIdx, blockIdx, blockDim, gridDim;

namespace simt
{

// Where a thread is.
struct place {
    extent thread, block, block_extent, grid_extent;
    uint64_t turn;   // which block this is of those that the machine's thread has run
    int lane() const // in its warp
    {
        return (int)(index() % 32);
    }
    unsigned index() const // in its block
    {
        return (thread.z * block_extent.y + thread.y) * block_extent.x + thread.x;
    }
};
extern thread_local const place *now;
inline const place &here()
{
    return *now;
}

struct launch {
    extent grid, block;
    size_t shared_bytes = 0; // dynamic
    const char *name = "";   // for messages
    unsigned cluster = 1;    // so many blocks, all along z of the grid, are there at once; or 1
};

enum { MULTIPROCESSORS = 4, CLUSTER_BLOCKS = 8, SHARED_BYTES = 227 << 10 }; // as many blocks at once, one each

// Runs every thread of the launch and returns when all have ended. Not for use inside kernels.
void run(const launch &l, const std::function<void()> &thread);

// A grid that begins before those ahead of it have ended, and goes on by itself to where its kernel waits for them: on machines of
// its own, of which there are two. One thread makes these, at most two at a time.
class early
{
  public:
    explicit early(std::function<void()> work); // calls run, once; returns when its threads can do no more
    ~early();                                   // those ahead have ended: returns when it has
  private:
    void *machine_;
};

// In kernels.
void *dynamic_shared();                         // of the block, at a multiple of 1024 bytes
void wait_for_block();                          // __syncthreads
void meet(int barrier, int threads, bool wait); // bar.sync, bar.arrive
void wait_for_warp(unsigned mask);              // __syncwarp
void wait_for_grids_ahead();                    // griddepcontrol.wait
bool grids_ahead();                             // whether they may not have ended
void wait_for_cluster();
void *shared_of_cluster(void *mine, unsigned rank); // once they have met: what lies at `mine` in that block
void pause();                                       // in loops that wait for what another thread does

// Each lane of `mask` gives what it has; when all have, `act` is called once with all 32 (null where a lane is not in the mask),
// then all go on. Shuffles, votes and products of tensor cores are this.
void together(unsigned mask, void *mine, void (*act)(void *const *of_lanes));

} // namespace simt

#endif
