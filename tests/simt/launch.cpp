// Launches: what the driver would refuse, and kernels of libraries (which nvrtc.cpp made).
#include "kernels.h"
#include "state.h"

#include <algorithm>
#include <dlfcn.h>
#include <map>
#include <set>
#include <unistd.h>

using namespace simt;

struct CUlib_st {
    void *loaded;
    std::vector<cudaKernel_t> kernels;
};

struct CUkern_st {
    std::string name;
    kernel_binder *bind;
};

namespace
{

std::map<const void *, size_t> &most_dynamic() // by kernel, what cudaFuncSetAttribute allows
{
    static std::map<const void *, size_t> all;
    return all;
}

std::set<const void *> &library_kernels()
{
    static std::set<const void *> all;
    return all;
}

// Of a kernel that is not known: as much as any was allowed.
size_t most_dynamic_of(const void *kernel)
{
    size_t most = BYTES_WITHOUT_ASKING;
    for (const auto &each : most_dynamic()) most = std::max(most, each.second);
    if (!kernel) return most;
    auto found = most_dynamic().find(kernel);
    return found == most_dynamic().end() ? (size_t)BYTES_WITHOUT_ASKING : found->second;
}

bool is_grid(const extent &e)
{
    return e.x && e.y && e.z && e.x < 1u << 31 && e.y < 65536 && e.z < 65536;
}

bool is_block(const extent &e)
{
    return e.x && e.y && e.z && e.x <= MOST_THREADS && e.y <= MOST_THREADS && e.z <= 64 &&
           e.x * e.y * e.z <= MOST_THREADS;
}

cudaError_t refusal(const void *kernel, const launch &l, bool cooperative)
{
    if (!is_grid(l.grid) || !is_block(l.block)) return cudaErrorInvalidConfiguration;
    if (l.shared_bytes > most_dynamic_of(kernel)) return cudaErrorInvalidValue;
    bool fits = (size_t)l.grid.x * l.grid.y * l.grid.z <= MULTIPROCESSORS;
    return cooperative && !fits ? cudaErrorCooperativeLaunchTooLarge : cudaSuccess;
}

// By a file whose name is new each time: a library of a name that is loaded is not loaded again, whatever the file has become.
void *load_bytes(const char *bytes, size_t count)
{
    char path[] = "/tmp/simt-kernel-XXXXXX";
    int file = mkstemp(path);
    if (file < 0) return nullptr;
    bool written = write(file, bytes, count) == (ssize_t)count;
    close(file);
    void *loaded = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    unlink(path);
    return loaded;
}

void end_kernel(kernel_call *call)
{
    call->end(call);
}

} // namespace

namespace simt
{

bool accepts(const void *kernel, const launch &l, bool cooperative)
{
    return !call([&] { return refusal(kernel, l, cooperative); });
}

bool may_launch(const launch &l)
{
    return accepts(nullptr, l);
}

} // namespace simt

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute which, int value)
{
    return call([&] {
        if (which != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess; // hints
        if (value < 0 || value > SHARED_BYTES) return cudaErrorInvalidValue;
        most_dynamic()[kernel] = (size_t)value;
        return cudaSuccess;
    });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel, int threads, size_t bytes)
{
    return call([&] {
        *blocks = threads <= MOST_THREADS && bytes <= most_dynamic_of(kernel);
        return cudaSuccess;
    });
}

cudaError_t cudaLibraryLoadData(cudaLibrary_t *out, const void *code, cudaJitOption *, void **, unsigned,
                                cudaLibraryOption *, void **, unsigned)
{
    return call([&] {
        const auto *head = (const kernel_image *)code;
        if (head->magic != KERNEL_IMAGE) return cudaErrorInvalidKernelImage;
        void *loaded = load_bytes((const char *)(head + 1), head->bytes);
        auto **hooks = loaded ? (const kernel_hooks **)dlsym(loaded, "simt_hooks") : nullptr;
        if (!hooks) {
            if (loaded) dlclose(loaded);
            return cudaErrorInvalidKernelImage;
        }
        *hooks = &hooks_of_kernels;
        *out = new CUlib_st{loaded, {}};
        return cudaSuccess;
    });
}

cudaError_t cudaLibraryGetKernel(cudaKernel_t *out, cudaLibrary_t library, const char *name)
{
    return call([&] {
        auto *bind = (kernel_binder *)dlsym(library->loaded, (std::string("simt_bind_") + name).c_str());
        if (!bind) return cudaErrorSymbolNotFound;
        *out = new CUkern_st{name, bind};
        library->kernels.push_back(*out);
        library_kernels().insert(*out);
        return cudaSuccess;
    });
}

cudaError_t cudaLibraryUnload(cudaLibrary_t library)
{
    return call([&] {
        drain_all();
        for (cudaKernel_t kernel : library->kernels) {
            library_kernels().erase(kernel);
            most_dynamic().erase(kernel);
            delete kernel;
        }
        dlclose(library->loaded);
        delete library;
        return cudaSuccess;
    });
}

cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **arguments, size_t bytes,
                             cudaStream_t stream)
{
    return call([&] {
        if (!library_kernels().count(kernel)) return cudaErrorInvalidDeviceFunction;
        const auto *k = (const CUkern_st *)kernel;
        launch l = {{grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, bytes, k->name.c_str()};
        cudaError_t refused = refusal(kernel, l, false);
        if (refused) return refused;
        std::shared_ptr<kernel_call> bound(k->bind(arguments), end_kernel);
        push(
            stream, [=] { run(l, [&] { bound->run(bound.get()); }); }, cudaGraphNodeTypeKernel);
        return cudaSuccess;
    });
}
