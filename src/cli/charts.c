/* Charts on standard output: how wide it is, whether it knows UTF-8 and colours. */
#define _GNU_SOURCE
#include "cli/charts.h"

#include "cli/terminal.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool speaks_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static plot_screen screen_of_stdout(void)
{
    const char *kind = getenv("TERM"), *no_color = getenv("NO_COLOR");
    bool terminal = isatty(STDOUT_FILENO), dumb = terminal && (!kind || !strcmp(kind, "dumb"));
    plot_screen screen = {.columns = 80, .rows = 16, .unicode = speaks_utf8() && !dumb};
    screen.color = terminal && !dumb && !(no_color && *no_color);
    struct winsize size;
    if (terminal && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col >= 40) {
        screen.columns = MIN(size.ws_col - 1, 120);
        screen.rows = MIN(MAX(size.ws_row - 10, 8), 20);
    }
    return screen;
}

static void put(call *c, text *chart)
{
    terminal_clear(c->terminal);
    if (chart->at) fputs(chart->at, stdout);
    fflush(stdout);
    text_free(chart);
}

void print_plot(call *c, const plot *p)
{
    text chart = {0};
    plot_screen screen = screen_of_stdout();
    plot_text(p, &screen, &chart);
    put(c, &chart);
}

void print_bar_plot(call *c, const bar_plot *p)
{
    text chart = {0};
    plot_screen screen = screen_of_stdout();
    bar_plot_text(p, &screen, &chart);
    put(c, &chart);
}
