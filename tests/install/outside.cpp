// A C++17 program that knows only what is installed.
#include <ingot/context.h>
#include <ingot/dtype.h>

#include <cstdio>

int main()
{
    ingot_context *ctx = nullptr;
    if (ingot_context_new(nullptr, &ctx)) return 1;
    std::printf("%s: %s takes %d\n", ingot_version(), ingot_dtype_name(INGOT_BF16),
                static_cast<int>(ingot_dtype_bytes(INGOT_BF16)));
    ingot_context_free(ctx);
    return 0;
}
