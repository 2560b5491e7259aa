// Blocks of a cluster: they meet, and read each other's shared memory. Their blocks are those of one place x, y of the grid.
#include "late.h"

#include <map>
#include <mutex>
#include <utility>

namespace simt
{

namespace
{

struct cluster {
    unsigned joined = 0, arrived = 0;
    void *shared[CLUSTER_BLOCKS] = {};
};

std::mutex lock;
std::map<std::pair<unsigned, unsigned>, cluster> clusters;

// What a block knows of its own.
struct member {
    cluster *mine = nullptr;
    unsigned meetings = 0;

    void clear()
    {
        *this = {};
    }
};

// One thread of a block for all: every grid ends before the next one begins, so who comes when all have been there is the first
// of a new cluster.
void meet(member &m, const place &p)
{
    {
        std::lock_guard<std::mutex> hold(lock);
        cluster &c = clusters[{p.block.x, p.block.y}];
        if (!m.mine && c.joined == p.grid_extent.z) c = {};
        if (!m.mine) c.joined++, m.mine = &c;
        c.shared[p.block.z] = dynamic_shared();
        c.arrived++;
        m.meetings++;
    }
    for (;; pause()) {
        std::lock_guard<std::mutex> hold(lock);
        if (m.mine->arrived >= m.meetings * p.grid_extent.z) return;
    }
}

} // namespace

void wait_for_cluster()
{
    wait_for_block();
    if (here().index() == 0) meet(of_block<member>(), here());
    wait_for_block();
}

void *shared_of_cluster(void *mine, unsigned rank)
{
    auto offset = (uintptr_t)mine - (uintptr_t)dynamic_shared();
    return (char *)of_block<member>().mine->shared[rank] + offset;
}

} // namespace simt
