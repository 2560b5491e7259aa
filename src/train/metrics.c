#define _GNU_SOURCE
#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

enum { ZSCORE_LEAST = 8 };

double zscore_add(zscore *z, double x)
{
    double mean = 0, square = 0, score = NAN;
    for (int i = 0; i < z->count; i++) mean += z->last[i] / z->count;
    for (int i = 0; i < z->count; i++) square += (z->last[i] - mean) * (z->last[i] - mean) / z->count;
    if (z->count >= ZSCORE_LEAST) score = square > 0 ? (x - mean) / sqrt(square) : 0;
    if (z->count == ZSCORE_WINDOW) memmove(z->last, z->last + 1, (size_t)--z->count * sizeof *z->last);
    z->last[z->count++] = x;
    return score;
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void add_zscore(text *out, double z)
{
    if (isnan(z))
        text_puts(out, " (new)| ");
    else
        text_printf(out, " (%+.2fz)| ", z);
}

static void add_time_left(text *out, double seconds)
{
    if (seconds < 0) return;
    if (seconds < 100)
        text_printf(out, " | %.0f s left", seconds);
    else if (seconds < 6000)
        text_printf(out, " | %.0f min left", seconds / 60);
    else
        text_printf(out, " | %.1f h left", seconds / 3600);
}

void step_line(text *out, const ingot_train_event *e)
{
    double seconds = fmax(e->seconds, 1e-9);
    text_printf(out, "step %lld/%lld | loss %.6f", (long long)e->result.step, (long long)e->steps, e->result.loss);
    add_zscore(out, e->loss_z);
    text_printf(out, "norm %.4f", e->result.norm);
    add_zscore(out, e->norm_z);
    text_printf(out, "lr %.2e | %.1f ms | %.1f GFLOP/s | %.0f %s/s", e->result.lr, 1e3 * seconds,
                1e-9 * e->flops / seconds, (double)e->rows / seconds, e->unit);
    add_time_left(out, e->seconds_left);
}

struct run_log {
    context *ctx;
    char *path;
    int fd;
    run_log_format format;
};

/* The step of a line, or -1: {"step":12,... or 12,... */
static int64_t line_step(const char *line, run_log_format format)
{
    static const char begin[] = "{\"step\":";
    if (format == LOG_JSONL) {
        if (strncmp(line, begin, sizeof begin - 1)) return -1;
        line += sizeof begin - 1;
    }
    char *end;
    errno = 0;
    long long step = strtoll(line, &end, 10);
    return end == line || errno ? -1 : step;
}

/* Bytes of the whole lines up to `step`. */
static size_t bytes_up_to(const text *old, run_log_format format, int64_t step)
{
    size_t kept = 0;
    for (const char *at = old->at; at && *at;) {
        const char *end = strchr(at, '\n');
        bool header = format == LOG_CSV && at == old->at;
        if (!end || (!header && line_step(at, format) > step)) break;
        at = end + 1;
        kept = (size_t)(at - old->at);
    }
    return kept;
}

static status append(run_log *log, const text *line)
{
    if (line->failed) return fail_memory(log->ctx, log->path, line->length);
    for (size_t done = 0; done < line->length;) {
        ssize_t wrote = write(log->fd, line->at + done, line->length - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return fail_errno(log->ctx, "write", log->path);
        done += (size_t)wrote;
    }
    return INGOT_OK;
}

#define MOST_LOG_BYTES (1ull << 31)

static status cut_old_lines(run_log *log, int64_t step)
{
    text old = {0};
    status s = step > 0 ? file_read_whole(log->ctx, log->path, MOST_LOG_BYTES, &old) : INGOT_OK;
    size_t kept = s ? 0 : bytes_up_to(&old, log->format, step);
    text_free(&old);
    if (!s && ftruncate(log->fd, (off_t)kept) && errno != EINVAL) s = fail_errno(log->ctx, "write", log->path);
    if (!s && lseek(log->fd, 0, SEEK_END) < 0 && errno != ESPIPE) s = fail_errno(log->ctx, "write", log->path);
    if (s || kept || log->format != LOG_CSV) return s;
    text header = {0};
    text_puts(&header, "step,loss,norm,lr,seconds,tokens_per_second,gflops_per_second,val_loss,val_bits_per_byte\n");
    s = append(log, &header);
    text_free(&header);
    return s;
}

status run_log_open(context *ctx, const char *path, run_log_format format, int64_t step, run_log **out)
{
    *out = NULL;
    run_log *log = calloc(1, sizeof *log);
    char *kept = strdup(path);
    if (!log || !kept) {
        free(log);
        free(kept);
        return fail_memory(ctx, path, sizeof *log);
    }
    *log = (run_log){.ctx = ctx, .path = kept, .format = format};
    log->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    status s = log->fd < 0 ? fail_errno(ctx, "write", path) : cut_old_lines(log, step);
    if (s) {
        run_log_close(log);
        return s;
    }
    *out = log;
    return INGOT_OK;
}

status run_log_step(run_log *log, const ingot_train_event *e)
{
    text line = {0};
    double seconds = fmax(e->seconds, 1e-9);
    const char *format = log->format == LOG_CSV
                             ? "%lld,%.9g,%.9g,%.9g,%.6f,%.1f,%.3f,,\n"
                             : "{\"step\":%lld,\"loss\":%.9g,\"norm\":%.9g,\"lr\":%.9g,\"seconds\":%.6f,"
                               "\"tokens_per_second\":%.1f,\"gflops_per_second\":%.3f}\n";
    text_printf(&line, format, (long long)e->result.step, e->result.loss, e->result.norm, e->result.lr, e->seconds,
                (double)e->rows / seconds, 1e-9 * e->flops / seconds);
    status s = append(log, &line);
    text_free(&line);
    return s;
}

status run_log_evaluation(run_log *log, const ingot_train_event *e)
{
    text line = {0};
    if (log->format == LOG_CSV) {
        text_printf(&line, "%lld,,,,,,,%.9g,", (long long)e->result.step, e->result.loss);
        if (e->bits_per_byte > 0) text_printf(&line, "%.9g", e->bits_per_byte);
        text_puts(&line, "\n");
    } else {
        text_printf(&line, "{\"step\":%lld,\"val_loss\":%.9g", (long long)e->result.step, e->result.loss);
        if (e->bits_per_byte > 0) text_printf(&line, ",\"val_bits_per_byte\":%.9g", e->bits_per_byte);
        text_puts(&line, "}\n");
    }
    status s = append(log, &line);
    text_free(&line);
    return s;
}

void run_log_close(run_log *log)
{
    if (!log) return;
    if (log->fd >= 0) close(log->fd);
    free(log->path);
    free(log);
}
