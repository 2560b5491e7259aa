/* One generation, streamed, on any device: example_generate MODEL [PROMPT [cpu | ref | auto]]. */
#include <ingot/generate.h>

#include <stdio.h>

static int failed(ingot_context *ctx)
{
    fprintf(stderr, "%s\n", ingot_message(ctx));
    return 1;
}

static int print(void *user, const ingot_piece *piece)
{
    fwrite(piece->text, 1, (size_t)piece->bytes, (FILE *)user);
    return fflush((FILE *)user); // not 0 ends the generation
}

int main(int argc, char **argv)
{
    ingot_context *ctx;
    ingot_device *device;
    ingot_model *model;
    ingot_session *session;
    if (argc < 2) return fprintf(stderr, "usage: %s MODEL [PROMPT [DEVICE]]\n", argv[0]), 2;
    if (ingot_context_new(NULL, &ctx)) return 1;
    if (ingot_device_open(ctx, argc > 3 ? argv[3] : "auto", NULL, &device)) return failed(ctx);
    if (ingot_model_load(ctx, argv[1], &model)) return failed(ctx);
    if (ingot_session_new(model, device, NULL, &session)) return failed(ctx);

    ingot_request r = {.prompt = argc > 2 ? argv[2] : "", .sampling = {.temperature = 0.8, .seed = 1}};
    if (ingot_generate(session, &r, 1, print, stdout, NULL)) return failed(ctx);
    putchar('\n');

    ingot_session_free(session);
    ingot_model_free(model);
    ingot_device_close(device);
    ingot_context_free(ctx);
    return 0;
}
