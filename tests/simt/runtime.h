// The CUDA runtime of the harness, for what launches kernels: a launch is checked as the driver would, then given to a stream.
//
//     if (simt::accepts((const void *)kernel, l)) simt::enqueue(stream, [=] { simt::run(l, thread); }, true);
//
// Work is done at once and in the order of the calls, unless the stream is capturing a graph. SIMT_SEED=n: as late as the rules
// of streams and events allow, and in an order by chance, so that a wait which was forgotten shows.
#ifndef SIMT_RUNTIME_H
#define SIMT_RUNTIME_H

#include "simt.h"

#include <cuda_runtime_api.h>

namespace simt
{

void enqueue(cudaStream_t stream, std::function<void()> work, bool kernel);

// Else its error is the thread's last one. `kernel`: what cudaFuncSetAttribute was told of it counts; null: of any.
bool accepts(const void *kernel, const launch &l, bool cooperative = false);
bool may_launch(const launch &l);

} // namespace simt

#endif
