/* An op of your own, trained with: snake (Ziyin et al. 2020), x + sin(a x)^2 / a, lets a small network learn a wave that
 * goes on beyond its data. Its meaning is `lower`; `grad` and the kernels, a function for the CPU and a text for NVIDIA
 * GPUs, are there for speed and may be left out.
 */
#include <ingot/custom.h>
#include <ingot/train.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TRY(call)                                                                                                      \
    if (call) return fprintf(stderr, "%s\n", ingot_message(ctx)), 1
enum { N = 128, H = 32 }; // points, hidden units

static void snake_lower(ingot_build *b, const double *a, ingot_value *const *in, ingot_value **out)
{
    ingot_value *s = ingot_square(b, ingot_sin(b, ingot_mul_scalar(b, in[0], a[0])));
    out[0] = ingot_add(b, in[0], ingot_mul_scalar(b, s, 1 / a[0]));
}

static void snake_grad(ingot_build *b, const double *a, ingot_value *const *in, ingot_value *const *out,
                       ingot_value *const *dout, const int *need, ingot_value **din)
{
    (void)out, (void)need; // one input, one output: called only when both matter
    ingot_value *slope = ingot_add_scalar(b, ingot_sin(b, ingot_mul_scalar(b, in[0], 2 * a[0])), 1);
    din[0] = ingot_mul(b, dout[0], slope);
}

static void snake_rows(const ingot_custom_call *call, int64_t first, int64_t last)
{
    const float *x = (const float *)call->in[0].data, a = (float)call->numbers[0];
    float *y = (float *)call->out[0].data;
    for (int64_t i = first; i < last; i++) y[i] = x[i] + sinf(a * x[i]) * sinf(a * x[i]) / a;
}

static ingot_status snake_cpu(const ingot_custom_call *call)
{
    ingot_custom_for(call, call->out[0].count, 4096, snake_rows);
    return INGOT_OK;
}

static const char snake_cuda[] = // one that a file holds may be read from there
    "extern \"C\" __global__ void snake(const ingot_call call)\n"
    "{\n"
    "    const float *x = (const float *)call.in[0].data, a = (float)call.numbers[0];\n"
    "    float *y = (float *)call.out[0].data;\n"
    "    long long stride = gridDim.x * (long long)blockDim.x;\n"
    "    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < call.out[0].count; i += stride)\n"
    "        y[i] = x[i] + sinf(a * x[i]) * sinf(a * x[i]) / a;\n"
    "}\n";

static ingot_loss loss(void *user, ingot_build *b, ingot_value *rng)
{
    (void)rng;
    const double a = 2;
    ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(N, 1)),
                *y = ingot_input(b, "y", INGOT_F32, INGOT_SHAPE(N, 1));
    ingot_value *w1 = ingot_state_in(b, "w1", INGOT_F32, INGOT_SHAPE(1, H), "weight.decay");
    ingot_value *b1 = ingot_state_in(b, "b1", INGOT_F32, INGOT_SHAPE(H), "weight.no_decay");
    ingot_value *w2 = ingot_state_in(b, "w2", INGOT_F32, INGOT_SHAPE(H, 1), "weight.decay"), *h;
    ingot_value *sum = ingot_add(b, ingot_matmul(b, x, w1), b1);
    ingot_custom(b, (const ingot_custom_op *)user, &a, &sum, &h);
    ingot_value *error = ingot_sub(b, ingot_matmul(b, h, w2), y);
    ingot_loss l = {ingot_sum_all(b, ingot_square(b, error)), ingot_constant(b, N, INGOT_F32, INGOT_SCALAR), NULL};
    return l;
}

int main(void)
{
    ingot_context *ctx;
    ingot_device *device;
    ingot_custom_op *snake;
    ingot_stepper *stepper;
    ingot_step_result first, last;
    if (ingot_context_new(NULL, &ctx)) return 1;
    TRY(ingot_device_open(ctx, "auto", NULL, &device));
    ingot_custom_def def = {.name = "snake",
                            .inputs = 1,
                            .outputs = 1,
                            .numbers = 1,
                            .lower = snake_lower,
                            .grad = snake_grad,
                            .cpu = snake_cpu,
                            .cuda = snake_cuda};
    TRY(ingot_custom_op_new(ctx, &def, &snake));
    ingot_task task = {.loss = loss, .user = snake};
    ingot_optimizer how = ingot_optimizer_defaults(1e-2, 500);
    TRY(ingot_stepper_new(device, NULL, &task, &how, &stepper));

    float x[N], y[N], w[H];
    for (int i = 0; i < N; i++) x[i] = (float)i / 16 - 4, y[i] = sinf(2 * x[i]) + 0.5f * x[i];
    for (int i = 0; i < H; i++) w[i] = (float)((i * 37) % H) / H - 0.5f;
    TRY(ingot_store_write(ingot_stepper_store(stepper), "w1", w, sizeof w));
    TRY(ingot_store_write(ingot_stepper_store(stepper), "w2", w, sizeof w));
    ingot_feed batch[] = {{"x", x, sizeof x}, {"y", y, sizeof y}};
    for (int i = 0; i < 500; i++) TRY(ingot_stepper_step(stepper, batch, 2, 1, i ? &last : &first));
    printf("loss %.5f -> %.5f\n", first.loss, last.loss);

    ingot_stepper_free(stepper);
    ingot_custom_op_free(snake);
    ingot_device_close(device);
    ingot_context_free(ctx);
    return !(last.loss < 0.01 * first.loss);
}
