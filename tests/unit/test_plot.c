/* Charts character by character, ticks, what gnuplot draws and what is left when there is none. */
#define _GNU_SOURCE
#include "tests.h"
#include "plot/plot.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static context *ctx;

static const double x[] = {0, 1, 2, 3, 4}, y[] = {4, 3, 2, 1, 0}, other[] = {0, 0, NAN, 4, 4};
static const plot_series lines[] = {{"down", x, y, 5, PLOT_LINE}, {"gap", x, other, 5, PLOT_LINE}};
static const plot_level level = {"floor", 2};

static void shows(const plot *p, const plot_screen *screen, const char *expected)
{
    text out = {0};
    plot_text(p, screen, &out);
    assert_string_equal(out.at, expected);
    text_free(&out);
}

static void test_ascii_chart(void **state)
{
    (void)state;
    const plot p = {.title = "two",
                    .x_label = "step",
                    .y_label = "loss",
                    .series = lines,
                    .series_count = 2,
                    .levels = &level,
                    .level_count = 1};
    shows(&p, &(plot_screen){.columns = 24, .rows = 5},
          "         two\n"
          "loss\n"
          "4 +***           oooooo\n"
          "  |   *****\n"
          "2 +- - - - ****- - - -\n"
          "  |            *****\n"
          "0 +oooooo           ***\n"
          "  ++---------+--------+\n"
          "   0         2        4\n"
          "           step\n"
          "   * down   o gap   -- floor 2\n");
}

static void test_no_point(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY, -1};
    const plot_series none = {"none", x, bad, 3, PLOT_LINE};
    plot p = {.title = "empty", .series = &none, .series_count = 1, .log_y = true};
    shows(&p, &(plot_screen){0}, "empty: there is no point to draw\n");
    assert_int_equal(plot_file(ctx, &p, 1, "none.png"), INGOT_ERROR_ARGUMENT);
    p.series_count = 0;
    shows(&p, &(plot_screen){0}, "empty: there is no point to draw\n");
}

/* Anything finite must give lines of the asked width, in every mode. */
static void test_any_numbers(void **state)
{
    (void)state;
    static const double values[] = {0, 1, -1, 1e-300, 1e300, -1e300, 5e-324, 1e15, 1e15 + 1, NAN};
    for (size_t a = 0; a < COUNT(values); a++) {
        for (size_t b = 0; b < COUNT(values); b++) {
            for (int mode = 0; mode < 16; mode++) {
                const double px[] = {values[a], values[b], 3}, py[] = {values[b], values[a], 2};
                const plot_series s = {"s", px, py, 3, (plot_style)(mode % 3)};
                const plot_level l = {"l", values[a]};
                plot p = {.series = &s,
                          .series_count = 1,
                          .levels = &l,
                          .level_count = 1,
                          .log_x = mode & 1,
                          .log_y = mode & 2};
                text out = {0};
                plot_text(&p, &(plot_screen){.columns = 50, .rows = 6, .unicode = mode & 4, .color = mode & 8}, &out);
                assert_false(out.failed);
                if (!(mode & 8)) {
                    for (const char *line = out.at; *line; line += strcspn(line, "\n") + 1) {
                        int width = 0;
                        for (size_t i = 0; i < strcspn(line, "\n"); i++)
                            width += ((unsigned char)line[i] & 0xc0) != 0x80;
                        assert_true(width <= 50);
                    }
                }
                text_free(&out);
            }
        }
    }
}

static void ticks_are(double low, double high, bool logarithmic, int most, const char *expected)
{
    double ticks[32];
    char got[256] = "", number[32];
    int count = plot_ticks((plot_range){low, high}, logarithmic, most, ticks);
    assert_true(count <= most);
    for (int i = 0; i < count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "",
                 plot_number(number, ticks[i], logarithmic || count < 2 ? ticks[i] : ticks[1] - ticks[0]));
    assert_string_equal(got, expected);
}

static void test_ticks(void **state)
{
    (void)state;
    ticks_are(0, 1, false, 6, "0 0.2 0.4 0.6 0.8 1.0");
    ticks_are(0.3, 3.7, false, 5, "1 2 3");
    ticks_are(-1, 1, false, 5, "-1.0 -0.5 0 0.5 1.0");
    ticks_are(0, 3000, false, 4, "0 1000 2000 3000");
    ticks_are(0, 250000, false, 4, "0 100k 200k");
    ticks_are(1, 1e6, true, 4, "1 100 10k 1M");
    ticks_are(0.4, 4, true, 5, "0.5 1 2");
    ticks_are(1, 1000, true, 10, "1 2 5 10 20 50 100 200 500 1000");
}

static void test_bars(void **state)
{
    (void)state;
    const char *const labels[] = {"naive", "blas"};
    const double values[] = {10, 40};
    const bar_plot p = {"speed", "GB/s", labels, values, 2};
    text out = {0};
    bar_plot_text(&p, &(plot_screen){.columns = 44}, &out);
    assert_string_equal(out.at, "speed\nnaive  ##### 10 GB/s\nblas   #################### 40 GB/s\n");
    text_free(&out);
    bar_plot_text(&p, &(plot_screen){.columns = 44, .unicode = true}, &out);
    assert_string_equal(out.at, "speed\nnaive  █████ 10 GB/s\nblas   ████████████████████ 40 GB/s\n");
    text_free(&out);
}

static void read_file(const char *path, text *out)
{
    if (file_read_whole(ctx, path, 10 << 20, out)) fail_msg("%s", ingot_message(ctx));
}

static void test_gnuplot(void **state)
{
    (void)state;
    const plot p = {.title = "it's <one> & \"two\" $x `y`",
                    .x_label = "st_ep",
                    .series = lines,
                    .series_count = 2,
                    .levels = &level,
                    .level_count = 1};
    const plot both[] = {p, p};
    text svg = {0}, png = {0};
    if (system("gnuplot --version > /dev/null 2>&1")) skip();
    if (plot_file(ctx, both, 2, "plot.svg")) fail_msg("%s", ingot_message(ctx));
    read_file("plot.svg", &svg);
    assert_non_null(strstr(svg.at, "it's &lt;one> &amp; \"two\" $x `y`"));
    assert_non_null(strstr(svg.at, "st_ep"));
    assert_non_null(strstr(svg.at, "floor"));
    assert_non_null(strstr(svg.at, "</svg>"));
    if (plot_file(ctx, &p, 1, "plot.png")) fail_msg("%s", ingot_message(ctx));
    read_file("plot.png", &png);
    assert_memory_equal(png.at, "\x89PNG\r\n", 6);
    assert_true(png.length > 2000);
    assert_false(file_exists("plot.png.part") || file_exists("plot.png.gnuplot"));
    const bar_plot bars = {"a \"b\"", NULL, (const char *const[]){"one two", "q\"x\""}, y, 2};
    if (bar_plot_file(ctx, &bars, "bars.svg")) fail_msg("%s", ingot_message(ctx));
    text_free(&svg);
    read_file("bars.svg", &svg);
    assert_non_null(strstr(svg.at, "one two"));
    assert_int_equal(plot_file(ctx, &p, 1, "plot.jpg"), INGOT_ERROR_ARGUMENT);
    assert_int_equal(plot_file(ctx, &p, 1, "no-folder/plot.png"), INGOT_ERROR_FILE);
    text_free(&svg), text_free(&png);
    unlink("plot.svg"), unlink("plot.png"), unlink("bars.svg");
}

/* Leaves late.png.gnuplot. */
static void without_gnuplot(const plot *p)
{
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    status failed = plot_file(ctx, p, 1, "late.png");
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(failed, INGOT_ERROR_UNSUPPORTED);
}

/* What belongs together looks alike; names beside points do not lie on each other; ticks where they were asked for. */
static void test_looks(void **state)
{
    (void)state;
    const double at[] = {128, 256}, up[] = {10, 20}, near[] = {10.1, 20};
    const plot_series s[] = {{"one", at, up, 2, PLOT_LINE_POINTS, .color = 3, .dash = 1},
                             {"two", at, up, 2, PLOT_LINE_POINTS, .color = 3, .dash = 2},
                             {"dot", at, up, 1, PLOT_POINTS, .beside = true},
                             {"next", at, near, 1, PLOT_POINTS, .beside = true}};
    const plot p = {.log_x = true, .log_y = true, .series = s, .series_count = 4, .x_ticks = at, .x_tick_count = 2};
    text script = {0};
    without_gnuplot(&p);
    read_file("late.png.gnuplot", &script);
    assert_non_null(strstr(script.at, "set xtics ('128' 128, '256' 256)"));
    const char *one = strstr(script.at, "$data0_0 using"), *two = strstr(script.at, "$data0_1 using");
    assert_true(one && two && strstr(one, "dt 1 pt 7") < two && strstr(two, "dt 2 pt 5"));
    assert_true(strstr(one, "lc rgb '#009e73'") < two && strstr(two, "lc rgb '#009e73'"));
    assert_null(strstr(script.at, "title 'dot'"));
    const char *dot = strstr(script.at, "set label 'dot' at graph "),
               *next = strstr(script.at, "set label 'next' at graph ");
    assert_true(dot && next);
    double x0, y0, x1, y1;
    assert_int_equal(sscanf(dot, "set label 'dot' at graph %lf,%lf", &x0, &y0), 2);
    assert_int_equal(sscanf(next, "set label 'next' at graph %lf,%lf", &x1, &y1), 2);
    assert_true(fabs(y0 - y1) > 0.04 || fabs(x0 - x1) > 0.04);
    text_free(&script);
    unlink("late.png.gnuplot");
}

static void test_without_gnuplot(void **state)
{
    (void)state;
    enum { LONG = 100000 };
    static double long_x[LONG], long_y[LONG];
    for (int i = 0; i < LONG; i++) long_x[i] = i, long_y[i] = 1;
    long_y[54321] = 987.5; /* a spike that thinning must keep */
    const plot_series s = {"long", long_x, long_y, LONG, PLOT_LINE};
    const plot p = {.series = &s, .series_count = 1};
    without_gnuplot(&p);
    assert_non_null(strstr(ingot_message(ctx), "late.png was not drawn: gnuplot is not installed"));
    assert_non_null(strstr(ingot_message(ctx), "late.png.gnuplot"));
    assert_false(file_exists("late.png") || file_exists("late.png.part"));
    text script = {0};
    read_file("late.png.gnuplot", &script);
    assert_non_null(strstr(script.at, "54321 987.5\n"));
    assert_true(script.length < 100000);
    text_free(&script);
    unlink("late.png.gnuplot");
}

int main(void)
{
    if (ingot_context_new(NULL, &ctx)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascii_chart),     cmocka_unit_test(test_no_point), cmocka_unit_test(test_any_numbers),
        cmocka_unit_test(test_ticks),           cmocka_unit_test(test_bars),     cmocka_unit_test(test_gnuplot),
        cmocka_unit_test(test_without_gnuplot), cmocka_unit_test(test_looks),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ingot_context_free(ctx);
    return failed;
}
