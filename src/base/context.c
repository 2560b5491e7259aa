/* The context: each thread's message, the callbacks, the pool, the interrupt flag. */
#include "base/base.h"
#include "base/threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define MESSAGE_BYTES 1024

struct ingot_context {
    ingot_context_options options;
    pthread_key_t message; /* char[MESSAGE_BYTES] of each thread that ever failed */
    pthread_mutex_t starting;
    pool *pool;
    atomic_int interrupted;
};

status ingot_context_new(const ingot_context_options *options, ingot_context **out)
{
    *out = NULL;
    context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) return INGOT_ERROR_MEMORY;
    if (pthread_key_create(&ctx->message, free)) {
        free(ctx);
        return INGOT_ERROR_MEMORY;
    }
    if (options) ctx->options = *options;
    pthread_mutex_init(&ctx->starting, NULL);
    *out = ctx;
    return INGOT_OK;
}

void ingot_context_free(ingot_context *ctx)
{
    if (!ctx) return;
    pool_free(ctx->pool);
    free(pthread_getspecific(ctx->message));
    pthread_key_delete(ctx->message);
    pthread_mutex_destroy(&ctx->starting);
    free(ctx);
}

const char *ingot_message(const ingot_context *ctx)
{
    const char *message = pthread_getspecific(ctx->message);
    return message ? message : "";
}

status ingot_fail(ingot_context *ctx, ingot_status code, const char *format, ...)
{
    char *message = pthread_getspecific(ctx->message);
    if (!message) {
        message = malloc(MESSAGE_BYTES);
        if (!message) return code;
        pthread_setspecific(ctx->message, message);
    }
    char built[MESSAGE_BYTES]; /* the arguments may point into the old message */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(built, sizeof built, format, arguments);
    va_end(arguments);
    memcpy(message, built, sizeof built);
    return code;
}

status fail_memory(context *ctx, const char *what, uint64_t bytes)
{
    char size[24];
    return ingot_fail(ctx, INGOT_ERROR_MEMORY, "not enough memory for %s (%s)", what, format_bytes(size, bytes));
}

status fail_errno(context *ctx, const char *doing, const char *path)
{
    int number = errno;
    return ingot_fail(ctx, INGOT_ERROR_FILE, "cannot %s %s: %s", doing, path, strerror(number));
}

void log_line(context *ctx, ingot_log_level level, const char *format, ...)
{
    if (!ctx->options.log) return;
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    ctx->options.log(ctx->options.user, level, line);
}

void progress(context *ctx, const char *what, double done, double total, const char *unit)
{
    if (ctx->options.progress) ctx->options.progress(ctx->options.user, what, done, total, unit);
}

pool *context_pool(context *ctx)
{
    pthread_mutex_lock(&ctx->starting);
    if (!ctx->pool) ctx->pool = pool_new(ctx->options.threads > 0 ? ctx->options.threads : threads_default());
    pool *p = ctx->pool;
    pthread_mutex_unlock(&ctx->starting);
    return p;
}

void ingot_interrupt(ingot_context *ctx)
{
    atomic_fetch_add(&ctx->interrupted, 1);
}

void ingot_interrupt_clear(ingot_context *ctx)
{
    atomic_store(&ctx->interrupted, 0);
}

int ingot_interrupted(const ingot_context *ctx)
{
    return atomic_load(&ctx->interrupted);
}

#ifndef INGOT_VERSION
#define INGOT_VERSION "0.0.0"
#endif

const char *ingot_version(void)
{
#if defined(__clang__)
    return "ingot " INGOT_VERSION " (clang " __clang_version__ ")";
#else
    return "ingot " INGOT_VERSION " (gcc " __VERSION__ ")";
#endif
}
