/* What every room stands on: status and message, the arena, checked sizes, growing arrays, strings.
 *
 * Inside the library public names lose their prefix: `status`, `context`. A function that can fail returns a status and
 * sets the message with ingot_fail at the place that knows most; callers pass the status up with TRY.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include "ingot/context.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef ingot_status status;
typedef ingot_context context;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

/* Returns from the calling function what failed; for functions that hold nothing that needs freeing. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        status try_status_ = (call);                                                                                   \
        if (try_status_) return try_status_;                                                                           \
    } while (0)

/* The same where something must be freed first: jumps to `label` with the status in the local variable `s`. */
#define TRY_OR(label, call)                                                                                            \
    do {                                                                                                               \
        s = (call);                                                                                                    \
        if (s) goto label;                                                                                             \
    } while (0)

status fail_memory(context *ctx, const char *what, uint64_t bytes);   /* "not enough memory for ... (N bytes)" */
status fail_errno(context *ctx, const char *doing, const char *path); /* INGOT_ERROR_FILE with strerror(errno) */
void log_line(context *ctx, ingot_log_level level, const char *format, ...) INGOT_PRINTF(3, 4);
void progress(context *ctx, const char *what, double done, double total, const char *unit);
struct pool *context_pool(context *ctx); /* shared; see threads.h */

/* Sizes from files or flags: each returns false instead of wrapping around. */
static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Arena: many small zeroed pieces, freed together. NULL only when the system has no memory; `failed` then stays set, so
 * that a long construction may check once at its end. */
typedef struct arena arena;
arena *arena_new(void);
void arena_free(arena *a);
void *arena_alloc(arena *a, size_t bytes);                     /* zeroed, aligned to 16 */
void *arena_array(arena *a, size_t item_bytes, int64_t count); /* NULL too when the product is too large */
char *arena_strdup(arena *a, const char *text);
char *arena_printf(arena *a, const char *format, ...) INGOT_PRINTF(2, 3);
bool arena_failed(const arena *a);
#define ARENA_NEW(a, type)          ((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_array((a), sizeof(type), (count)))

/* A growing array on the heap: `struct { T *at; int64_t count, capacity; }`. ARRAY_PUSH is false when memory is out. */
#define ARRAY(T)                                                                                                       \
    struct {                                                                                                           \
        T *at;                                                                                                         \
        int64_t count, capacity;                                                                                       \
    }
#define ARRAY_RESERVE(array, wanted)                                                                                   \
    array_reserve((void **)&(array)->at, &(array)->capacity, (wanted), sizeof(*(array)->at))
#define ARRAY_PUSH(array, ...)                                                                                         \
    (ARRAY_RESERVE((array), (array)->count + 1) && ((array)->at[(array)->count++] = (__VA_ARGS__), true))
#define ARRAY_FREE(array) (free((array)->at), (array)->at = NULL, (array)->count = (array)->capacity = 0)
bool array_reserve(void **at, int64_t *capacity, int64_t wanted, size_t item_bytes);

/* A growing string, always NUL-terminated once something was added; zero-initialise, then text_free. After a failed
 * allocation `failed` is set and additions do nothing. */
typedef struct text {
    char *at;
    size_t length, capacity;
    bool failed;
} text;
void text_add(text *t, const char *bytes, size_t length);
void text_puts(text *t, const char *string);
void text_printf(text *t, const char *format, ...) INGOT_PRINTF(2, 3);
void text_free(text *t);

/* The entry of `names` nearest to `word` by edits, or NULL when none is near enough to suggest. */
const char *nearest_name(const char *word, const char *const *names, size_t count);

/* "1.2 GB", "340 KB": for messages. `out` holds at least 24 bytes and is returned. */
char *format_bytes(char *out, uint64_t bytes);

#ifdef __cplusplus
}
#endif

#endif
