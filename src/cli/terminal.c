/* On a terminal one line is rewritten, five times a second; elsewhere (a log file, CI) a line now and then. */
#define _GNU_SOURCE
#include "cli/terminal.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define QUIET_SECONDS  2.0 /* shorter work shows nothing */
#define REDRAW_SECONDS 0.2
#define SPARSE_SECONDS 30.0

struct terminal {
    pthread_mutex_t lock; /* callbacks come from any thread */
    bool quiet, rewrites, drawn;
    char what[96];
    double started, shown, first_done, last_done;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

terminal *terminal_new(bool quiet)
{
    terminal *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    pthread_mutex_init(&t->lock, NULL);
    const char *kind = getenv("TERM");
    t->quiet = quiet;
    t->rewrites = isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb");
    return t;
}

static void clear_locked(terminal *t)
{
    if (t->drawn) fputs("\r\033[K", stderr);
    t->drawn = false;
}

void terminal_clear(terminal *t)
{
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    clear_locked(t);
    pthread_mutex_unlock(&t->lock);
}

void terminal_free(terminal *t)
{
    if (!t) return;
    terminal_clear(t);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static void print_indented(const char *prefix, const char *message)
{
    fputs(prefix, stderr);
    for (const char *c = message; *c; c++) {
        fputc(*c, stderr);
        if (*c == '\n' && c[1]) fprintf(stderr, "%*s", (int)strlen("ingot: "), "");
    }
    fputc('\n', stderr);
}

void terminal_error(const char *message)
{
    print_indented("ingot: ", message);
}

void terminal_log(void *user, ingot_log_level level, const char *line)
{
    terminal *t = user;
    if (level == INGOT_LOG_DEBUG || (t->quiet && level < INGOT_LOG_WARNING)) return;
    pthread_mutex_lock(&t->lock);
    clear_locked(t);
    if (level == INGOT_LOG_WARNING)
        print_indented("ingot: warning: ", line);
    else
        fprintf(stderr, "%s\n", line);
    pthread_mutex_unlock(&t->lock);
}

/* "1.2 GB" for bytes, "12.3k steps" for the rest. */
static void amount(char *out, size_t bytes, double value, const char *unit)
{
    char size[24];
    if (unit && !strcmp(unit, "bytes"))
        snprintf(out, bytes, "%s", format_bytes(size, value > 0 ? (uint64_t)value : 0));
    else if (value >= 1e6)
        snprintf(out, bytes, "%.2fM %s", value * 1e-6, unit ? unit : "");
    else if (value >= 1e4)
        snprintf(out, bytes, "%.1fk %s", value * 1e-3, unit ? unit : "");
    else
        snprintf(out, bytes, value == (double)(int64_t)value ? "%.0f %s" : "%.1f %s", value, unit ? unit : "");
}

static void duration(char *out, size_t bytes, double seconds)
{
    int64_t s = (int64_t)(seconds + 0.5);
    if (s < 60)
        snprintf(out, bytes, "%d s", (int)s);
    else if (s < 3600)
        snprintf(out, bytes, "%d:%02d", (int)(s / 60), (int)(s % 60));
    else
        snprintf(out, bytes, "%lld:%02d:%02d", (long long)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
}

static void show(terminal *t, double at, double done, double total, const char *unit)
{
    char have[48], whole[48], speed[48], left[32], line[256];
    double elapsed = at - t->started, rate = elapsed > 0 ? (done - t->first_done) / elapsed : 0;
    amount(have, sizeof have, done, unit);
    amount(whole, sizeof whole, total, unit);
    amount(speed, sizeof speed, rate, unit);
    int length = total > 0 ? snprintf(line, sizeof line, "%s: %s of %s (%.0f%%), %s/s", t->what, have, whole,
                                      100 * done / total, speed)
                           : snprintf(line, sizeof line, "%s: %s, %s/s", t->what, have, speed);
    if (total > done && rate > 0 && length > 0 && (size_t)length < sizeof line) {
        duration(left, sizeof left, (total - done) / rate);
        snprintf(line + length, sizeof line - (size_t)length, ", %s left", left);
    }
    if (t->rewrites)
        fprintf(stderr, "\r%s\033[K", line);
    else
        fprintf(stderr, "%s\n", line);
    fflush(stderr);
    t->drawn = t->rewrites;
    t->shown = at;
}

void terminal_progress(void *user, const char *what, double done, double total, const char *unit)
{
    terminal *t = user;
    if (t->quiet) return;
    double at = now();
    pthread_mutex_lock(&t->lock);
    if (strncmp(t->what, what, sizeof t->what - 1) || done < t->last_done) {
        clear_locked(t);
        snprintf(t->what, sizeof t->what, "%s", what);
        t->started = t->shown = at;
        t->first_done = done;
    }
    t->last_done = done;
    double since = at - t->shown;
    if (at - t->started >= QUIET_SECONDS && since >= (t->rewrites ? REDRAW_SECONDS : SPARSE_SECONDS))
        show(t, at, done, total, unit);
    if (total > 0 && done >= total) clear_locked(t);
    pthread_mutex_unlock(&t->lock);
}
