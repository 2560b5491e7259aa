/* Charts made of characters: braille dots, two by four in a cell, or plain ASCII where a terminal has no more. */
#include "plot/plot.h"

#include <math.h>
#include <stdio.h>

typedef struct cell {
    uint8_t dots;  /* braille bits */
    uint8_t owner; /* series + 1; levels after them; 0: empty */
} cell;

typedef struct canvas {
    const plot *plot;
    plot_screen screen;
    int columns, rows;  /* cells */
    int dots_x, dots_y; /* of one cell */
    plot_range x, y;
    cell *cells;
} canvas;

static const char ascii_marks[] = "*o+x#@%&";
static const int ansi[] = {34, 33, 32,
                           35, 36, 31}; /* blue, yellow, green, magenta, cyan, red: seen on dark and light */

static double share(plot_range r, bool logarithmic, double value)
{
    return logarithmic ? log(value / r.low) / log(r.high / r.low) : (value - r.low) / (r.high - r.low);
}

static int to_dot(double part, int dots)
{
    return (int)fmin(fmax(part * (dots - 1) + 0.5, 0), dots - 1);
}

static int dot_x(const canvas *c, double x)
{
    return to_dot(share(c->x, c->plot->log_x, x), c->columns * c->dots_x);
}

static int dot_y(const canvas *c, double y)
{
    return to_dot(1 - share(c->y, c->plot->log_y, y), c->rows * c->dots_y);
}

static void set_dot(canvas *c, int x, int y, int owner)
{
    static const uint8_t bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    cell *at = &c->cells[y / c->dots_y * c->columns + x / c->dots_x];
    at->dots |= bits[y % c->dots_y][x % c->dots_x];
    at->owner = (uint8_t)owner;
}

static void draw_line(canvas *c, int x0, int y0, int x1, int y1, int owner)
{
    int steps = MAX(abs(x1 - x0), abs(y1 - y0));
    for (int i = 0; i <= steps; i++) {
        double t = steps ? (double)i / steps : 0;
        set_dot(c, (int)lround(x0 + t * (x1 - x0)), (int)lround(y0 + t * (y1 - y0)), owner);
    }
}

static void draw_series(canvas *c, const plot_series *s, int owner)
{
    bool before = false;
    int last_x = 0, last_y = 0;
    for (int64_t i = 0; i < s->count; i++) {
        if (!plot_shown(c->plot, s->x[i], s->y[i])) {
            before = false;
            continue;
        }
        int x = dot_x(c, s->x[i]), y = dot_y(c, s->y[i]);
        if (before && s->style != PLOT_POINTS)
            draw_line(c, last_x, last_y, x, y, owner);
        else
            set_dot(c, x, y, owner);
        last_x = x, last_y = y, before = true;
    }
}

static void draw_level(canvas *c, double y, int owner)
{
    if (!isfinite(y) || (c->plot->log_y && y <= 0)) return;
    int row = dot_y(c, y), dash = c->dots_x == 2 ? 4 : 2;
    for (int x = 0; x < c->columns * c->dots_x; x++)
        if (x % dash < dash / 2) set_dot(c, x, row, owner);
}

static void put_colored(const canvas *c, int owner, const char *what, text *out)
{
    if (c->screen.color && owner) {
        bool level = owner > c->plot->series_count;
        text_printf(out, "\033[%dm%s\033[0m", level ? 90 : ansi[(size_t)(owner - 1) % COUNT(ansi)], what);
    } else {
        text_puts(out, what);
    }
}

static void put_mark(const canvas *c, const cell *at, text *out)
{
    char mark[4] = " ";
    if (at->owner && c->screen.unicode) /* U+2800 + dots in UTF-8 */
        memcpy(mark, (char[]){(char)0xe2, (char)(0xa0 | at->dots >> 6), (char)(0x80 | (at->dots & 0x3f)), 0}, 4);
    else if (at->owner)
        mark[0] =
            at->owner > c->plot->series_count ? '-' : ascii_marks[(size_t)(at->owner - 1) % (sizeof ascii_marks - 1)];
    put_colored(c, at->owner, mark, out);
}

static void put_row(const canvas *c, int row, text *out)
{
    text line = {0};
    int last = c->columns; /* without trailing blanks */
    while (last > 0 && !c->cells[row * c->columns + last - 1].owner) last--;
    for (int x = 0; x < last; x++) put_mark(c, &c->cells[row * c->columns + x], &line);
    text_add(out, line.at ? line.at : "", line.length);
    text_free(&line);
}

static void put_spaces(text *out, int count)
{
    for (int i = 0; i < count; i++) text_puts(out, " ");
}

/* How many columns UTF-8 takes, wide characters aside: labels are ours. */
static int width_of(const char *string)
{
    int width = 0;
    for (; *string; string++) width += ((unsigned char)*string & 0xc0) != 0x80;
    return width;
}

static void put_centered(text *out, const char *string, int columns)
{
    if (!string || !*string) return;
    put_spaces(out, (columns - width_of(string)) / 2);
    text_printf(out, "%s\n", string);
}

typedef struct axis {
    double ticks[32];
    char labels[32][32];
    int count, width;
} axis;

static axis make_axis(plot_range r, bool logarithmic, int most)
{
    axis a = {0};
    a.count = plot_ticks(r, logarithmic, most, a.ticks);
    for (int i = 0; i < a.count; i++) {
        double step = logarithmic ? a.ticks[i] : a.count > 1 ? a.ticks[1] - a.ticks[0] : a.ticks[0];
        a.width = MAX(a.width, width_of(plot_number(a.labels[i], a.ticks[i], step)));
    }
    return a;
}

static void put_x_axis(const canvas *c, int indent, text *out)
{
    axis a = make_axis(c->x, c->plot->log_x, MAX(3, c->columns / 11));
    const char *corner = c->screen.unicode ? "└" : "+", *dash = c->screen.unicode ? "─" : "-",
               *tick = c->screen.unicode ? "┬" : "+";
    put_spaces(out, indent);
    text_puts(out, corner);
    int at[32];
    for (int i = 0; i < a.count; i++) at[i] = dot_x(c, a.ticks[i]) / c->dots_x;
    for (int x = 0; x < c->columns; x++) {
        bool marked = false;
        for (int i = 0; i < a.count; i++) marked = marked || at[i] == x;
        text_puts(out, marked ? tick : dash);
    }
    text_puts(out, "\n");
    int column = 0, end = indent + 1 + c->columns;
    for (int i = 0; i < a.count; i++) {
        int width = width_of(a.labels[i]), start = indent + 1 + at[i] - width / 2;
        start = MIN(MAX(start, 0), end - width);
        if (start < column + (column > 0)) continue;
        put_spaces(out, start - column);
        text_puts(out, a.labels[i]);
        column = start + width;
    }
    text_puts(out, "\n");
    if (c->plot->x_label && *c->plot->x_label) {
        put_spaces(out, MAX(0, indent + 1 + (c->columns - width_of(c->plot->x_label)) / 2));
        text_printf(out, "%s\n", c->plot->x_label);
    }
}

static void put_legend(const canvas *c, int indent, text *out)
{
    const plot *p = c->plot;
    if (p->series_count + p->level_count < 2 && !(p->series_count && p->series[0].name)) return;
    put_spaces(out, indent + 1);
    for (int i = 0; i < p->series_count + p->level_count; i++) {
        bool level = i >= p->series_count;
        const char *name = level ? p->levels[i - p->series_count].name : p->series[i].name;
        char mark[8] = {ascii_marks[(size_t)i % (sizeof ascii_marks - 1)], 0};
        if (level)
            snprintf(mark, sizeof mark, "%s", "--");
        else if (c->screen.unicode)
            snprintf(mark, sizeof mark, "%s", "⠶⠶");
        if (i) text_puts(out, "   ");
        put_colored(c, i + 1, mark, out);
        text_printf(out, " %s", name ? name : "");
        if (level) text_printf(out, " %.4g", p->levels[i - p->series_count].y);
    }
    text_puts(out, "\n");
}

static void put_chart(canvas *c, const axis *y, int indent, text *out)
{
    const plot *p = c->plot;
    for (int l = 0; l < p->level_count; l++) draw_level(c, p->levels[l].y, p->series_count + l + 1);
    for (int s = 0; s < p->series_count; s++) draw_series(c, &p->series[s], s + 1);
    put_centered(out, p->title, c->columns + indent);
    if (p->y_label && *p->y_label) text_printf(out, "%s\n", p->y_label);
    for (int row = 0; row < c->rows; row++) {
        const char *label = "";
        for (int i = 0; i < y->count; i++)
            if (dot_y(c, y->ticks[i]) / c->dots_y == row) label = y->labels[i];
        put_spaces(out, indent - 1 - width_of(label));
        const char *line = c->screen.unicode ? *label ? "┤" : "│" : *label ? "+" : "|";
        text_printf(out, "%s %s", label, line);
        put_row(c, row, out);
        text_puts(out, "\n");
    }
    put_x_axis(c, indent, out);
    put_legend(c, indent, out);
}

void plot_text(const plot *p, const plot_screen *screen, text *out)
{
    canvas c = {.plot = p, .screen = *screen};
    if (!plot_ranges(p, &c.x, &c.y)) {
        text_printf(out, "%s%sthere is no point to draw\n", p->title ? p->title : "", p->title ? ": " : "");
        return;
    }
    /* Dots of several curves look alike without colours: marks tell them apart. */
    if (!c.screen.color && p->series_count > 1) c.screen.unicode = false;
    c.rows = MIN(MAX(screen->rows ? screen->rows : 16, 4), 200);
    c.dots_x = c.screen.unicode ? 2 : 1;
    c.dots_y = c.screen.unicode ? 4 : 1;
    axis y = make_axis(c.y, p->log_y, MAX(3, c.rows / 3));
    int indent = y.width + 1;
    c.columns = MIN(MAX((screen->columns ? screen->columns : 80) - indent - 2, 10), 500);
    c.cells = calloc((size_t)(c.columns * c.rows), sizeof *c.cells);
    if (c.cells)
        put_chart(&c, &y, indent, out);
    else
        out->failed = true;
    free(c.cells);
}

void bar_plot_text(const bar_plot *p, const plot_screen *screen, text *out)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int widest = 0, columns = screen->columns ? screen->columns : 80;
    double most = 0;
    for (int i = 0; i < p->count; i++) {
        widest = MAX(widest, width_of(p->labels[i]));
        if (isfinite(p->values[i])) most = fmax(most, p->values[i]);
    }
    int room = MAX(columns - widest - 2 - 12 - (p->unit ? width_of(p->unit) + 1 : 0), 8);
    if (p->title) text_printf(out, "%s\n", p->title);
    for (int i = 0; i < p->count; i++) {
        double value = p->values[i];
        text_puts(out, p->labels[i]);
        put_spaces(out, widest - width_of(p->labels[i]) + 2);
        double length = isfinite(value) && value > 0 ? value / most * room : 0;
        int parts = (int)(length * 8 + 0.5);
        if (screen->color) text_printf(out, "\033[%dm", ansi[0]);
        for (int k = 0; k < (screen->unicode ? parts / 8 : (parts + 4) / 8); k++)
            text_puts(out, screen->unicode ? "█" : "#");
        if (screen->unicode) text_puts(out, eighths[parts % 8]);
        if (screen->color) text_puts(out, "\033[0m");
        text_printf(out, "%s%.4g%s%s\n", parts ? " " : "", value, p->unit ? " " : "", p->unit ? p->unit : "");
    }
}
