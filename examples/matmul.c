/* One product, on any device: example_matmul [cpu | ref | auto]. Also C++17. */
#include <ingot/ops.h>
#include <ingot/program.h>

#include <stdio.h>

static int failed(ingot_context *ctx)
{
    fprintf(stderr, "%s\n", ingot_message(ctx));
    return 1;
}

int main(int argc, char **argv)
{
    ingot_context *ctx;
    ingot_device *device;
    ingot_program *p;
    if (ingot_context_new(NULL, &ctx)) return 1;
    if (ingot_device_open(ctx, argc > 1 ? argv[1] : "auto", NULL, &device)) return failed(ctx);

    ingot_build *b = ingot_build_new(ctx, "product");
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(2, 3));
    ingot_value *y = ingot_input(b, "y", INGOT_F32, INGOT_SHAPE(3, 2));
    ingot_output(b, "xy", ingot_matmul(b, x, y));
    if (ingot_compile(b, device, NULL, &p)) return failed(ctx);

    const float left[] = {1, 2, 3, 4, 5, 6}, right[] = {7, 8, 9, 10, 11, 12};
    float xy[4];
    if (ingot_write(p, "x", left, sizeof left) || ingot_write(p, "y", right, sizeof right) || ingot_run(p, NULL) ||
        ingot_read(p, "xy", xy, sizeof xy))
        return failed(ctx);
    printf("%g %g\n%g %g\n", xy[0], xy[1], xy[2], xy[3]); // 58 64, 139 154

    ingot_program_free(p);
    ingot_device_close(device);
    ingot_context_free(ctx);
    return 0;
}
