// The one function of CUB that kernels here use: a stable sort by 32-bit keys.
#pragma once

#include "device.h"

#include <numeric>
#include <vector>

namespace cub {

struct DeviceRadixSort {
    template <typename KEY, typename VALUE>
    static cudaError_t SortPairs(void *scratch, size_t &bytes, const KEY *keys, KEY *sorted, const VALUE *values,
                                 VALUE *sorted_values, int n, int = 0, int = 32, cudaStream_t stream = nullptr)
    {
        if (!scratch) {
            bytes = 256;
            return cudaSuccess;
        }
        auto sort = [=] {
            std::vector<int> order((size_t)n);
            std::iota(order.begin(), order.end(), 0);
            std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return keys[a] < keys[b]; });
            for (int i = 0; i < n; i++) sorted[i] = keys[order[(size_t)i]], sorted_values[i] = values[order[(size_t)i]];
        };
        simt::enqueue(stream, sort, true);
        return cudaSuccess;
    }
};

} // namespace cub
