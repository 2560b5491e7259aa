/* Arena, growing arrays and strings, and the small text helpers of messages. */
#include "base/base.h"

#include <limits.h>
#include <stdio.h>

#define ARENA_CHUNK (64 * 1024)

typedef struct chunk {
    struct chunk *next;
    size_t used, capacity;
    max_align_t bytes[];
} chunk;

struct arena {
    chunk *chunks;
    bool failed;
};

arena *arena_new(void)
{
    return calloc(1, sizeof(arena));
}

void arena_free(arena *a)
{
    if (!a) return;
    for (chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(a);
}

void *arena_alloc(arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(chunk) - 15) {
        a->failed = true;
        return NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    chunk *c = a->chunks;
    if (!c || c->capacity - c->used < bytes) {
        size_t capacity = MAX(bytes, (size_t)ARENA_CHUNK);
        c = calloc(1, sizeof(chunk) + capacity);
        if (!c) {
            a->failed = true;
            return NULL;
        }
        c->capacity = capacity;
        if (a->chunks && bytes > ARENA_CHUNK / 4) { /* a large piece goes behind, the open chunk stays open */
            c->next = a->chunks->next;
            a->chunks->next = c;
        } else {
            c->next = a->chunks;
            a->chunks = c;
        }
    }
    void *at = (char *)c->bytes + c->used;
    c->used += bytes;
    return at;
}

void *arena_array(arena *a, size_t item_bytes, int64_t count)
{
    uint64_t bytes;
    bool fits = count >= 0 && checked_mul(item_bytes, (uint64_t)count, &bytes) && bytes < SIZE_MAX;
    return arena_alloc(a, fits ? (size_t)bytes : SIZE_MAX); /* too large is refused there */
}

char *arena_strdup(arena *a, const char *string)
{
    size_t length = strlen(string);
    char *copy = arena_alloc(a, length + 1);
    return copy ? memcpy(copy, string, length) : NULL;
}

char *arena_printf(arena *a, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *out = length < 0 ? NULL : arena_alloc(a, (size_t)length + 1);
    if (out) vsnprintf(out, (size_t)length + 1, format, again);
    va_end(again);
    return out;
}

bool arena_failed(const arena *a)
{
    return a->failed;
}

bool array_reserve(void **at, int64_t *capacity, int64_t wanted, size_t item_bytes)
{
    if (wanted <= *capacity) return true;
    int64_t grown = MAX(wanted, *capacity + *capacity / 2 + 8);
    uint64_t bytes;
    if (!checked_mul((uint64_t)grown, item_bytes, &bytes) || bytes > SIZE_MAX) return false;
    void *moved = realloc(*at, (size_t)bytes);
    if (!moved) return false;
    *at = moved;
    *capacity = grown;
    return true;
}

static bool text_reserve(text *t, size_t more)
{
    if (t->failed || t->capacity - t->length > more) return !t->failed;
    size_t capacity = t->length + more + 1 + t->capacity / 2;
    char *moved = capacity > more ? realloc(t->at, capacity) : NULL;
    if (!moved) {
        t->failed = true;
        return false;
    }
    t->at = moved;
    t->capacity = capacity;
    return true;
}

void text_add(text *t, const char *bytes, size_t length)
{
    if (!text_reserve(t, length)) return;
    if (length) memcpy(t->at + t->length, bytes, length);
    t->length += length;
    t->at[t->length] = 0;
}

void text_puts(text *t, const char *string)
{
    text_add(t, string, strlen(string));
}

void text_printf(text *t, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0 && text_reserve(t, (size_t)length)) {
        vsnprintf(t->at + t->length, (size_t)length + 1, format, again);
        t->length += (size_t)length;
    }
    va_end(again);
}

void text_free(text *t)
{
    free(t->at);
    *t = (text){0};
}

/* Levenshtein distance; words of more than 63 letters are near to nothing. */
static int edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) return INT_MAX;
    int row[LONGEST + 1];
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int substitute = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(substitute, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

/* "bf16" of "bfloat16": the same first letter, and the others in their order. */
static bool abbreviates(const char *word, const char *name)
{
    if (!*word || *word != *name || !word[1]) return false;
    for (; *word; word++, name++) {
        name = strchr(name, *word);
        if (!name) return false;
    }
    return true;
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    int best_distance = (int)strlen(word) / 2 + 1;
    for (size_t i = 0; i < count; i++) {
        int distance = edit_distance(word, names[i]);
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = names[i];
    }
    for (size_t i = 0; i < count && !best; i++)
        if (abbreviates(word, names[i])) best = names[i];
    return best;
}

char *format_bytes(char *out, uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= (unit ? 999.95 : 1000) && unit + 1 < COUNT(units)) value /= 1000, unit++;
    snprintf(out, 24, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}
