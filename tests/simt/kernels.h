// What a text that NVRTC would compile becomes: a shared library that knows nothing of this one but these. It is seen by the
// texts themselves (nvrtc_device.h), so it includes nothing: they are compiled by the hundred.
#ifndef SIMT_KERNELS_H
#define SIMT_KERNELS_H

namespace simt
{

// A kernel with its arguments.
struct kernel_call {
    void (*run)(kernel_call *mine); // one thread
    void (*end)(kernel_call *mine);
};
using kernel_binder = kernel_call *(void **arguments); // exported as simt_bind_NAME

// What device code asks of the harness. `here` is a simt::place.
struct kernel_hooks {
    const void *(*here)();
    void (*wait_for_block)();
    void *(*dynamic_shared)();
    void (*wait_for_grids_ahead)();
};
extern const kernel_hooks hooks_of_kernels;

// The head of a "cubin"; the library's bytes follow.
struct kernel_image {
    unsigned long long magic, bytes;
};
constexpr unsigned long long KERNEL_IMAGE = 0x746d6973202d2043;

} // namespace simt

#endif
