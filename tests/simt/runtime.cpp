// The device, its memory and its errors.
#include "state.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <unistd.h>

using namespace simt;

// helper of tensor maps (tensor_map.cpp)
extern "C" int simt_encode_tiled() __attribute__((weak));

namespace
{

// By end of page, so that what is read or written beyond the end is a fault; a page before and behind is nobody's.
struct block {
    char *pages = nullptr;
    size_t mapped = 0, bytes = 0;
    bool pinned = false;
};

struct memory {
    std::map<const char *, block> blocks; // by first byte
    size_t used = 0;                      // of the device
};

memory &all()
{
    static memory m;
    return m;
}

size_t total_bytes()
{
    size_t have = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 2, most = (size_t)4 << 30;
    return have < most ? have : most;
}

bool has(const void *at, size_t bytes, bool pinned)
{
    auto found = all().blocks.upper_bound((const char *)at);
    if (found == all().blocks.begin()) return false;
    --found;
    const block &b = found->second;
    size_t offset = (size_t)((const char *)at - found->first);
    return b.pinned == pinned && offset <= b.bytes && bytes <= b.bytes - offset;
}

cudaError_t take(void **out, size_t bytes, bool pinned)
{
    const size_t page = 4096, align = 256;
    if (bytes > total_bytes() || (!pinned && bytes > total_bytes() - all().used)) return cudaErrorMemoryAllocation;
    size_t rounded = (bytes + align - 1) / align * align, inner = (rounded + page - 1) / page * page;
    block b = {nullptr, inner + 2 * page, bytes, pinned};
    void *pages = mmap(nullptr, b.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return cudaErrorMemoryAllocation;
    b.pages = (char *)pages;
    mprotect(b.pages + page, inner, PROT_READ | PROT_WRITE);
    char *first = b.pages + page + inner - rounded;
    memset(first, 0xff, rounded); // a NaN of every float
    all().blocks[first] = b;
    if (!pinned) all().used += bytes;
    *out = first;
    return cudaSuccess;
}

cudaError_t give_back(void *at, bool pinned)
{
    if (!at) return cudaSuccess;
    drain_all();
    auto found = all().blocks.find((const char *)at);
    if (found == all().blocks.end() || found->second.pinned != pinned) return cudaErrorInvalidValue;
    munmap(found->second.pages, found->second.mapped);
    if (!pinned) all().used -= found->second.bytes;
    all().blocks.erase(found);
    return cudaSuccess;
}

bool may_be(const void *at, size_t bytes, bool device)
{
    return device ? is_device(at, bytes) || is_pinned(at, bytes) : !is_device(at, 0);
}

// Pageable memory is read before the call returns, and written before it does.
cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault && (!may_be(to, bytes, to_device) || !may_be(from, bytes, from_device)))
        return cudaErrorInvalidValue;
    auto kept = std::make_shared<std::vector<char>>();
    if (!is_device(from, bytes) && !is_pinned(from, bytes) && !capturing(stream))
        kept->assign((const char *)from, (const char *)from + bytes);
    push(
        stream, [=] { memcpy(to, kept->empty() ? from : kept->data(), bytes); }, cudaGraphNodeTypeMemcpy);
    if (is_device(to, bytes) || is_pinned(to, bytes) || capturing(stream)) return cudaSuccess;
    drain(stream);
    return find_failure();
}

cudaError_t fill(void *at, int value, size_t bytes, cudaStream_t stream)
{
    if (!is_device(at, bytes) && !is_pinned(at, bytes)) return cudaErrorInvalidValue;
    push(
        stream, [=] { memset(at, value, bytes); }, cudaGraphNodeTypeMemset);
    return cudaSuccess;
}

thread_local cudaError_t last = cudaSuccess;

struct words {
    cudaError_t error;
    const char *name, *says;
};

const words errors[] = {
#define WORDS(error, says)                                                                                             \
    {                                                                                                                  \
        error, #error, says                                                                                            \
    }
    WORDS(cudaSuccess, "no error"),
    WORDS(cudaErrorInvalidValue, "invalid argument"),
    WORDS(cudaErrorMemoryAllocation, "out of memory"),
    WORDS(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    WORDS(cudaErrorInvalidDeviceFunction, "invalid device function"),
    WORDS(cudaErrorInvalidDevice, "invalid device ordinal"),
    WORDS(cudaErrorInvalidKernelImage, "device kernel image is invalid"),
    WORDS(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    WORDS(cudaErrorSymbolNotFound, "named symbol not found"),
    WORDS(cudaErrorNotReady, "device not ready"),
    WORDS(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    WORDS(cudaErrorIllegalInstruction, "an illegal instruction was encountered"),
    WORDS(cudaErrorLaunchFailure, "unspecified launch failure"),
    WORDS(cudaErrorCooperativeLaunchTooLarge, "too many blocks in cooperative launch"),
    WORDS(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    WORDS(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    WORDS(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
#undef WORDS
};

const words &words_of(cudaError_t e)
{
    static const words unknown = {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"};
    for (const words &w : errors)
        if (w.error == e) return w;
    return unknown;
}

bool is_sm90()
{
    const char *arch = getenv("SIMT_ARCH");
    return arch && atoi(arch) >= 90;
}

} // namespace

namespace simt
{

std::recursive_mutex &lock()
{
    static std::recursive_mutex one;
    return one;
}

cudaError_t remember(cudaError_t e)
{
    if (e) last = e;
    return e;
}

bool is_pinned(const void *at, size_t bytes)
{
    return has(at, bytes, true);
}

bool is_device(const void *at, size_t bytes)
{
    return has(at, bytes, false);
}

} // namespace simt

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    return call_outside([&] { return take(out, bytes, false); });
}

cudaError_t cudaFree(void *at)
{
    return call_outside([&] { return give_back(at, false); });
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    return call_outside([&] { return take(out, bytes, true); });
}

cudaError_t cudaFreeHost(void *at)
{
    return call_outside([&] { return give_back(at, true); });
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *total)
{
    return call([&] {
        *total = total_bytes();
        *left = *total - all().used;
        return cudaSuccess;
    });
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    return call([&] { return copy(to, from, bytes, kind, stream); });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return call_outside([&] {
        cudaError_t e = copy(to, from, bytes, kind, nullptr);
        drain(nullptr);
        return e ? e : find_failure();
    });
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream)
{
    return call([&] { return fill(at, value, bytes, stream); });
}

cudaError_t cudaMemset(void *at, int value, size_t bytes)
{
    return call_outside([&] { return fill(at, value, bytes, nullptr); });
}

cudaError_t cudaGetLastError()
{
    cudaError_t e = failure() ? failure() : last;
    last = cudaSuccess;
    return e;
}

cudaError_t cudaPeekAtLastError()
{
    return failure() ? failure() : last;
}

const char *cudaGetErrorString(cudaError_t e)
{
    return words_of(e).says;
}

const char *cudaGetErrorName(cudaError_t e)
{
    return words_of(e).name;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return call([&] { return device ? cudaErrorInvalidDevice : cudaSuccess; });
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device) return remember(cudaErrorInvalidDevice);
    *p = {};
    snprintf(p->name, sizeof p->name, "CPU threads (SIMT harness)");
    p->major = is_sm90() ? 9 : 8;
    p->totalGlobalMem = total_bytes();
    p->sharedMemPerBlock = BYTES_WITHOUT_ASKING;
    p->sharedMemPerBlockOptin = p->sharedMemPerMultiprocessor = SHARED_BYTES;
    p->multiProcessorCount = MULTIPROCESSORS;
    p->warpSize = 32;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->maxThreadsPerBlock = p->maxThreadsPerMultiProcessor = MOST_THREADS;
    p->maxBlocksPerMultiProcessor = 1;
    p->l2CacheSize = 40 << 20;
    p->cooperativeLaunch = p->unifiedAddressing = p->concurrentKernels = 1;
    p->clusterLaunch = is_sm90();
    return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult *found)
{
    bool known = !strcmp(name, "cuTensorMapEncodeTiled") && simt_encode_tiled;
    *out = known ? (void *)simt_encode_tiled : nullptr;
    *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
