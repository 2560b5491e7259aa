/* Pictures of numbers: PNG and SVG through gnuplot, and charts made of characters for the terminal.
 *
 *     const plot_series curves[] = {{"train", steps, loss, n}, {"val", val_steps, val_loss, m, .style = PLOT_POINTS}};
 *     const plot_level floor = {"floor", 0.443};
 *     const plot p = {.title = "loss", .x_label = "step", .y_label = "bits per byte", .series = curves, .series_count = 2,
 *                     .levels = &floor, .level_count = 1};
 *     plot_file(ctx, &p, 1, "run/loss.svg");
 *     text chart = {0};
 *     plot_text(&p, &(plot_screen){.columns = 80, .rows = 16, .unicode = true, .color = true}, &chart);
 *
 * Points that are not finite, or not positive on a log axis, leave a gap. Nothing is kept: all pointers are the caller's.
 */
#ifndef PLOT_PLOT_H
#define PLOT_PLOT_H

#include "base/base.h"

typedef enum plot_style { PLOT_LINE, PLOT_POINTS, PLOT_LINE_POINTS } plot_style;

typedef struct plot_series {
    const char *name;
    const double *x, *y; /* (count) each */
    int64_t count;
    plot_style style;
    int color, dash; /* kinds of them, from 1 on: series that belong together share one; 0: by the series' place */
    bool beside;     /* in files: its name stands beside its first point and not in the key */
} plot_series;

typedef struct plot_level { /* a horizontal line to measure by */
    const char *name;
    double y;
} plot_level;

typedef struct plot {
    const char *title, *x_label, *y_label; /* may be NULL */
    bool log_x, log_y;
    const plot_series *series;
    int series_count;
    const plot_level *levels;
    int level_count;
    const double *x_ticks; /* in files: where there is something to read off, in place of round numbers */
    int x_tick_count;
} plot;

typedef struct bar_plot { /* one bar a label, lying */
    const char *title, *unit;
    const char *const *labels;
    const double *values; /* (count); negative ones are drawn as none */
    int count;
} bar_plot;

/* `panels` plots one under the other. The ending says what is written: .png or .svg. Written whole or not at all. When
 * gnuplot is missing or fails, the status says so and `<path>.gnuplot` holds what it was to draw: nothing is lost. */
status plot_file(context *ctx, const plot *p, int panels, const char *path);
/* Before what is to be drawn is measured: the ending, and whether the folder can be written. */
status plot_check(context *ctx, const char *path);
status bar_plot_file(context *ctx, const bar_plot *p, const char *path);

/* A graph in Graphviz's language, as SVG added to `svg`. */
status plot_graph(context *ctx, const text *dot, text *svg);

typedef struct plot_screen { /* what a terminal can show */
    int columns, rows;       /* of the whole chart's width, of the drawn area's height; 0: 80 and 16 */
    bool unicode;            /* braille and lines; else ASCII */
    bool color;              /* ANSI colours */
} plot_screen;

/* Adds lines to `out`, each ended by a newline. */
void plot_text(const plot *p, const plot_screen *screen, text *out);
void bar_plot_text(const bar_plot *p, const plot_screen *screen, text *out);

/* The parts that both need. Ranges hold all finite points and levels, with a little room; false: there is no point. */
typedef struct plot_range {
    double low, high; /* low < high */
} plot_range;
bool plot_ranges(const plot *p, plot_range *x, plot_range *y);
bool plot_shown(const plot *p, double x, double y); /* finite, and positive where an axis is logarithmic */
/* Round positions inside the range, at most `most`; returns how many. */
int plot_ticks(plot_range range, bool logarithmic, int most, double ticks[32]);
/* "0.25", "20k", "3e-04": as short as tells ticks that lie `step` apart from each other. */
char *plot_number(char out[32], double value, double step);

#endif
