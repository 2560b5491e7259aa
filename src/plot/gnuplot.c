/* Writes a gnuplot script with its data inside and hands it to gnuplot's standard input. */
#define _GNU_SOURCE
#include "plot/plot.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_POINTS 2000 /* of one curve; more cannot be seen, and would make the SVG large */

extern char **environ;

/* Told apart by most colour-blind people: Okabe and Ito 2008, the darker ones first, and one of Tol's; then four for those who draw more. */
static const char *const colors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
                                     "#000000", "#882255", "#8c510a", "#80b918", "#5e3c99", "#888888"};

/* 'it''s': gnuplot's quoting, control characters left out. */
static void put_quoted(text *out, const char *plain)
{
    text_puts(out, "'");
    for (; plain && *plain; plain++) {
        if (*plain == '\'') text_puts(out, "'");
        if ((unsigned char)*plain >= ' ') text_add(out, plain, 1);
    }
    text_puts(out, "'");
}

static void put_point(text *out, const plot_series *s, int64_t i)
{
    text_printf(out, "%.9g %.9g\n", s->x[i], s->y[i]);
}

/* Long curves keep the lowest and the highest point of each stretch, so that no spike is lost. */
static void put_data(text *out, const plot *p, const plot_series *s, int panel, int number)
{
    text_printf(out, "$data%d_%d << EOD\n", panel, number);
    int64_t stretch = s->count > MOST_POINTS ? (s->count + MOST_POINTS / 2 - 1) / (MOST_POINTS / 2) : 1;
    for (int64_t i = 0; i < s->count; i += stretch) {
        int64_t low = -1, high = -1;
        for (int64_t j = i; j < MIN(i + stretch, s->count); j++) {
            if (!plot_shown(p, s->x[j], s->y[j])) continue;
            if (low < 0 || s->y[j] < s->y[low]) low = j;
            if (high < 0 || s->y[j] > s->y[high]) high = j;
        }
        if (low < 0) text_puts(out, "\n"); /* an empty line is a gap */
        if (low >= 0) put_point(out, s, MIN(low, high));
        if (low != high) put_point(out, s, MAX(low, high));
    }
    text_puts(out, "EOD\n");
}

static void put_ticks(text *out, const char *axis, const double *ticks, int count)
{
    text_printf(out, "set %stics (", axis);
    for (int i = 0; i < count; i++) {
        char number[32];
        text_printf(out, "%s'%s' %.9g", i ? ", " : "", plot_number(number, ticks[i], ticks[i]), ticks[i]);
    }
    text_puts(out, ")\n");
}

/* gnuplot marks only the powers of ten of a log axis; a curve within one of them needs more. */
static void put_log_ticks(text *out, const char *axis, plot_range r)
{
    double ticks[32];
    put_ticks(out, axis, ticks, plot_ticks(r, true, 9, ticks));
}

/* A curve alone under its own name needs no key, which would lie on it. */
static bool is_named_by_title(const plot *p)
{
    return p->series_count == 1 && !p->level_count && p->title && !strcmp(p->title, p->series[0].name);
}

/* Many names would lie on the curves: they get a column of their own, and the picture that much more width. */
static bool has_many_names(const plot *p)
{
    int in_key = p->level_count;
    for (int s = 0; s < p->series_count; s++) in_key += !p->series[s].beside;
    return in_key > 4;
}

static void put_key(text *out, const plot *p)
{
    text_puts(out, "set key default noenhanced\n");
    if (is_named_by_title(p)) text_puts(out, "unset key\n");
    if (has_many_names(p)) text_puts(out, "set key outside right center Left reverse\n");
}

static void put_axes(text *out, const plot *p)
{
    text_puts(out, "set title ");
    put_quoted(out, p->title ? p->title : "");
    text_puts(out, "\nset xlabel ");
    put_quoted(out, p->x_label ? p->x_label : "");
    text_puts(out, "\nset ylabel ");
    put_quoted(out, p->y_label ? p->y_label : "");
    text_printf(out, "\n%s logscale x\n%s logscale y\n", p->log_x ? "set" : "unset", p->log_y ? "set" : "unset");
    plot_range x, y;
    if (plot_ranges(p, &x, &y))
        text_printf(out, "set xrange [%.9g:%.9g]\nset yrange [%.9g:%.9g]\n", x.low, x.high, y.low, y.high);
    text_puts(out, "set xtics auto\nset ytics auto\n");
    if (p->x_tick_count)
        put_ticks(out, "x", p->x_ticks, p->x_tick_count);
    else if (p->log_x)
        put_log_ticks(out, "x", x);
    if (p->log_y) put_log_ticks(out, "y", y);
}

/* ---- names beside points ---- */

enum { MOST_BESIDE = 64 };

typedef struct name_boxes { /* in parts of the drawn area: left, middle, width */
    double x[MOST_BESIDE], y[MOST_BESIDE], width[MOST_BESIDE];
    int count;
} name_boxes;

static double part_of(double value, plot_range r, bool logarithmic)
{
    return logarithmic ? log(value / r.low) / log(r.high / r.low) : (value - r.low) / (r.high - r.low);
}

static bool is_free(const name_boxes *boxes, double x, double y, double width)
{
    const double line = 0.05;
    if (x < 0 || x + width > 1 || y < 0 || y > 1) return false;
    for (int i = 0; i < boxes->count; i++)
        if (fabs(boxes->y[i] - y) < line && x < boxes->x[i] + boxes->width[i] && boxes->x[i] < x + width) return false;
    return true;
}

/* To the right or left of the point, on its line or one of the next, where no name stands yet. */
static void put_name_beside(text *out, const plot *p, const plot_series *s, const char *color, name_boxes *boxes)
{
    static const double lines[] = {0, 1, -1, 2, -2, 3, -3};
    const double letter = 0.0085, gap = 0.01, line = 0.05;
    plot_range x, y;
    if (!s->count || !plot_shown(p, s->x[0], s->y[0]) || !plot_ranges(p, &x, &y)) return;
    double at_x = part_of(s->x[0], x, p->log_x), at_y = part_of(s->y[0], y, p->log_y),
           width = letter * (double)strlen(s->name), left = at_x + gap, middle = at_y;
    for (size_t i = 0; i < 2 * COUNT(lines); i++) {
        left = i % 2 ? at_x - gap - width : at_x + gap;
        middle = at_y + lines[i / 2] * line;
        if (is_free(boxes, left, middle, width)) break;
    }
    if (boxes->count < MOST_BESIDE) {
        boxes->x[boxes->count] = left;
        boxes->y[boxes->count] = middle;
        boxes->width[boxes->count++] = width;
    }
    text_puts(out, "set label ");
    put_quoted(out, s->name);
    text_printf(out, " at graph %.4f,%.4f %s noenhanced tc rgb '%s'\n", left < at_x ? left + width : left, middle,
                left < at_x ? "right" : "left", color);
}

static const char *color_of(const plot *p, int s)
{
    return colors[(size_t)(p->series[s].color ? p->series[s].color - 1 : s) % COUNT(colors)];
}

static void put_names_beside(text *out, const plot *p)
{
    name_boxes boxes = {.count = 0};
    text_puts(out, "unset label\n");
    for (int s = 0; s < p->series_count; s++)
        if (p->series[s].beside) put_name_beside(out, p, &p->series[s], color_of(p, s), &boxes);
}

static void put_series(text *out, const plot *p, int panel, int s)
{
    static const char *const styles[] = {"lines", "points", "linespoints"};
    static const int shapes[] = {7, 5, 9, 13}, dashes[] = {1, 2, 4, 3}; /* discs, squares, ... */
    const plot_series *one = &p->series[s];
    size_t round = one->dash ? (size_t)one->dash - 1 : (size_t)s / COUNT(colors); /* where colours begin again */
    text_printf(out, "%s$data%d_%d using 1:2 with %s lw 1.6 dt %d pt %d ps 0.7 lc rgb '%s' ", s ? ", " : "", panel, s,
                styles[one->style], dashes[one->dash ? round % COUNT(dashes) : 0], shapes[round % COUNT(shapes)],
                color_of(p, s));
    text_puts(out, one->beside ? "notitle" : "title ");
    if (!one->beside) put_quoted(out, one->name);
}

static void put_panel(text *out, const plot *p, int panel)
{
    static const char *const greys[] = {"#444444", "#888888", "#aaaaaa"};
    for (int s = 0; s < p->series_count; s++) put_data(out, p, &p->series[s], panel, s);
    put_axes(out, p);
    put_key(out, p);
    put_names_beside(out, p);
    text_puts(out, "plot ");
    for (int s = 0; s < p->series_count; s++) put_series(out, p, panel, s);
    for (int l = 0; l < p->level_count; l++) {
        text_printf(out, ", %.9g with lines lw 1.4 dt %d lc rgb '%s' title ", p->levels[l].y, l + 2,
                    greys[(size_t)l % COUNT(greys)]);
        put_quoted(out, p->levels[l].name);
    }
    text_puts(out, "\n");
}

static bool ends_with(const char *path, const char *ending)
{
    size_t length = strlen(path), tail = strlen(ending);
    return length >= tail && !strcmp(path + length - tail, ending);
}

status plot_check(context *ctx, const char *path)
{
    if (!ends_with(path, ".png") && !ends_with(path, ".svg"))
        return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s: pictures are written as .png or .svg", path);
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder) return fail_memory(ctx, path, strlen(path));
    status s = access(folder, W_OK) ? fail_errno(ctx, "write to", folder) : INGOT_OK;
    free(folder);
    return s;
}

static status put_terminal(context *ctx, text *out, const char *path, const char *output, int width, int height)
{
    TRY(plot_check(ctx, path));
    if (ends_with(path, ".png"))
        text_printf(
            out,
            "if (strstrt(GPVAL_TERMINALS, 'pngcairo')) set terminal pngcairo noenhanced size %d,%d font 'sans,11'; "
            "else set terminal png noenhanced size %d,%d\n",
            width, height, width, height);
    else if (ends_with(path, ".svg"))
        text_printf(out, "set terminal svg noenhanced size %d,%d font 'sans,13' background rgb 'white'\n", width,
                    height);
    text_puts(out, "set output ");
    put_quoted(out, output);
    text_puts(
        out,
        "\nset encoding utf8\nset grid lt 1 lw 0.6 lc rgb '#dddddd'\nset border 3 lc rgb '#444444'\nset tics nomirror\n"
        "set key noenhanced\n");
    return INGOT_OK;
}

/* The script as gnuplot's standard input; its first complaint goes into `complaint`. */
static status run_gnuplot(context *ctx, const text *script, char *complaint, size_t bytes)
{
    *complaint = 0;
    FILE *in = tmpfile(), *err = tmpfile();
    status s = INGOT_OK;
    if (!in || !err || fwrite(script->at, 1, script->length, in) != script->length || fflush(in)) {
        s = fail_errno(ctx, "write", "a temporary file");
    } else {
        rewind(in);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fileno(in), STDIN_FILENO);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, fileno(err), STDERR_FILENO);
        pid_t child;
        int how = 0,
            failed = posix_spawnp(&child, "gnuplot", &actions, NULL, (char *[]){(char[]){"gnuplot"}, NULL}, environ);
        posix_spawn_file_actions_destroy(&actions);
        while (!failed && waitpid(child, &how, 0) < 0 && errno == EINTR) continue;
        if (failed) {
            s = ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED,
                           "gnuplot is not installed (Debian: gnuplot-nox, Homebrew: gnuplot)");
        } else if (how) {
            rewind(err);
            size_t read = fread(complaint, 1, bytes - 1, err);
            complaint[read] = 0;
            s = ingot_fail(ctx, INGOT_ERROR_UNSUPPORTED, "gnuplot failed");
        }
    }
    if (in) fclose(in);
    if (err) fclose(err);
    return s;
}

/* Draws into a name beside `path`, then renames; on failure leaves the script for later. */
static status draw(context *ctx, text *script, const char *path, const char *output)
{
    char complaint[300], reason[200];
    if (script->failed) return fail_memory(ctx, path, script->length);
    status s = run_gnuplot(ctx, script, complaint, sizeof complaint);
    if (!s && rename(output, path)) s = fail_errno(ctx, "write", path);
    if (!s) return INGOT_OK;
    unlink(output);
    snprintf(reason, sizeof reason, "%s", ingot_message(ctx));
    char *kept;
    if (asprintf(&kept, "%s.gnuplot", path) < 0) return fail_memory(ctx, path, strlen(path));
    status saved = file_write_whole(ctx, kept, script->at, script->length);
    if (!saved)
        ingot_fail(
            ctx, s,
            "%s was not drawn: %s%s%s\nIts data and commands are in %s; draw it later with: gnuplot %s && mv %s %s",
            path, reason, *complaint ? ": " : "", complaint, kept, kept, output, path);
    s = saved ? saved : s;
    free(kept);
    return s;
}

static char *output_name(const char *path)
{
    char *name;
    return asprintf(&name, "%s.part", path) < 0 ? NULL : name;
}

status plot_file(context *ctx, const plot *p, int panels, const char *path)
{
    for (int i = 0; i < panels; i++) {
        plot_range x, y;
        if (!plot_ranges(&p[i], &x, &y))
            return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "%s: there is no point to draw", path);
    }
    char *output = output_name(path);
    if (!output) return fail_memory(ctx, path, strlen(path));
    text script = {0};
    int width = 900;
    for (int i = 0; i < panels; i++)
        if (has_many_names(&p[i])) width = 1100;
    status s = put_terminal(ctx, &script, path, output, width, 140 + 360 * panels);
    if (!s) {
        if (panels > 1) text_printf(&script, "set multiplot layout %d,1\n", panels);
        for (int i = 0; i < panels; i++) put_panel(&script, &p[i], i);
        text_puts(&script, panels > 1 ? "unset multiplot\nunset output\n" : "unset output\n");
        s = draw(ctx, &script, path, output);
    }
    text_free(&script);
    free(output);
    return s;
}

status bar_plot_file(context *ctx, const bar_plot *p, const char *path)
{
    char *output = output_name(path);
    if (!output) return fail_memory(ctx, path, strlen(path));
    text script = {0};
    status s = put_terminal(ctx, &script, path, output, 900, 120 + 34 * MAX(p->count, 2));
    if (!s) {
        double most = 0;
        text_puts(&script, "$data << EOD\n");
        for (int i = 0; i < p->count; i++) {
            double value = isfinite(p->values[i]) ? fmax(p->values[i], 0) : 0;
            most = fmax(most, value);
            text_printf(&script, "%d %.9g ", i, value);
            text_puts(&script, "\""); /* in data only double quotes hold words together */
            for (const char *l = p->labels[i]; *l; l++)
                if (*l != '"' && (unsigned char)*l >= ' ') text_add(&script, l, 1);
            text_puts(&script, "\"\n");
        }
        text_printf(&script,
                    "EOD\nset datafile separator whitespace\nset xrange [0:%.9g]\nset yrange [%d.5:-0.5]\nset style "
                    "fill solid\n",
                    most > 0 ? most * 1.15 : 1, p->count - 1);
        text_puts(&script, "set grid noytics\nset ytics out\nset title ");
        put_quoted(&script, p->title);
        text_puts(&script, "\nset xlabel ");
        put_quoted(&script, p->unit);
        text_printf(&script,
                    "\nplot $data using (0):1:(0):2:($1-0.35):($1+0.35):ytic(3) with boxxyerror lc rgb '%s' notitle, "
                    "$data using 2:1:(sprintf(' %%.4g', $2)) with labels left notitle\nunset output\n",
                    colors[0]);
        s = draw(ctx, &script, path, output);
    }
    text_free(&script);
    free(output);
    return s;
}
