/* The context: one per program. It owns the thread pool, the log and progress callbacks, and each thread's last message.
 *
 *     ingot_context *ctx;
 *     if (ingot_context_new(NULL, &ctx)) return puts("not enough memory");
 *     ingot_tokenizer *t;
 *     if (ingot_tokenizer_load(ctx, "tok.json", &t)) return puts(ingot_message(ctx));
 *     ingot_context_free(ctx);
 *
 * Every function that can fail returns an ingot_status, 0 when it went well, and leaves in the context a message that
 * says what went wrong, where, and what to do. The message belongs to the calling thread: two threads that fail at once
 * each read their own. The library never prints, exits or aborts.
 *
 * Thread safety: a context may be used from any number of threads. Objects made from it (builders, programs, sessions,
 * tokenizers) belong to one thread at a time; a tokenizer and a loaded corpus may be read from many threads at once.
 */
#ifndef INGOT_CONTEXT_H
#define INGOT_CONTEXT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define INGOT_API                     __attribute__((visibility("default")))
#define INGOT_PRINTF(position, first) __attribute__((format(printf, position, first)))
#else
#define INGOT_API
#define INGOT_PRINTF(position, first)
#endif

typedef enum ingot_status {
    INGOT_OK = 0,
    INGOT_ERROR_ARGUMENT,    /* the caller asked for something that makes no sense */
    INGOT_ERROR_SHAPE,       /* shapes or dtypes that do not fit together */
    INGOT_ERROR_MEMORY,      /* not enough of it, on the host or a device */
    INGOT_ERROR_FILE,        /* the operating system refused: missing, unreadable, full */
    INGOT_ERROR_FORMAT,      /* a file or message from outside is broken */
    INGOT_ERROR_UNSUPPORTED, /* understood, but not something this build or device can do */
    INGOT_ERROR_DEVICE,      /* a device failed; it stays failed until closed */
    INGOT_ERROR_NOT_FINITE,  /* a NaN or an infinity where training or inference needs a number */
    INGOT_ERROR_INTERRUPTED, /* ingot_interrupt was called */
    INGOT_ERROR_INTERNAL     /* a defect in Ingot: please report the message */
} ingot_status;

typedef enum ingot_log_level { INGOT_LOG_DEBUG, INGOT_LOG_INFO, INGOT_LOG_WARNING } ingot_log_level;

typedef struct ingot_context ingot_context;

typedef struct ingot_context_options {
    int threads; /* 0: the physical cores within this process's affinity and cgroup */
    /* Called with one line without its newline, from the thread that has something to say. NULL: silence. */
    void (*log)(void *user, ingot_log_level level, const char *line);
    /* Called now and then by long work: done of total units ("bytes", "steps"); total 0 when unknown. */
    void (*progress)(void *user, const char *what, double done, double total, const char *unit);
    void *user; /* handed to both callbacks */
} ingot_context_options;

/* options may be NULL for the defaults. */
INGOT_API ingot_status ingot_context_new(const ingot_context_options *options, ingot_context **out);
INGOT_API void ingot_context_free(ingot_context *ctx);

/* The calling thread's last message, "" when nothing failed. Valid until this thread's next failing call. */
INGOT_API const char *ingot_message(const ingot_context *ctx);

/* Records code and message for the calling thread and returns code. For custom ops and kernels. */
INGOT_API ingot_status ingot_fail(ingot_context *ctx, ingot_status code, const char *format, ...) INGOT_PRINTF(3, 4);

/* Asks long work to stop at its next safe point; it then returns INGOT_ERROR_INTERRUPTED or, in training, saves first.
 * Safe to call from a signal handler. ingot_interrupt_clear makes the context usable again. */
INGOT_API void ingot_interrupt(ingot_context *ctx);
INGOT_API void ingot_interrupt_clear(ingot_context *ctx);
INGOT_API int ingot_interrupted(const ingot_context *ctx);

/* "ingot 0.1.0 (gcc 12.2, cpu)" */
INGOT_API const char *ingot_version(void);

#ifdef __cplusplus
}
#endif
#endif
