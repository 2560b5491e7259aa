// In place of CUDA's header: what this project's kernels use of it.
#ifndef SIMT_COOPERATIVE_GROUPS_H
#define SIMT_COOPERATIVE_GROUPS_H

#include "simt.h"

namespace cooperative_groups
{

struct cluster_group {
    void sync() const
    {
        simt::wait_for_cluster();
    }
    template <typename T> T *map_shared_rank(T *mine, int rank) const
    {
        return static_cast<T *>(simt::shared_of_cluster(mine, (unsigned)rank));
    }
};

inline cluster_group this_cluster()
{
    return {};
}

} // namespace cooperative_groups

#endif
