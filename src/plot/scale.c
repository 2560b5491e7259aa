/* Ranges, ticks and numbers of axes. */
#include "plot/plot.h"

#include <math.h>
#include <stdio.h>

bool plot_shown(const plot *p, double x, double y)
{
    return isfinite(x) && isfinite(y) && (!p->log_x || x > 0) && (!p->log_y || y > 0);
}

static void include(plot_range *r, double value)
{
    r->low = fmin(r->low, value);
    r->high = fmax(r->high, value);
}

/* Room around the points; a single value gets some too. */
static plot_range with_room(plot_range r, bool logarithmic, double share)
{
    if (logarithmic) {
        double room = fmax(log(r.high / r.low) * share, r.high > r.low ? 0 : 0.5);
        return (plot_range){r.low * exp(-room), r.high * exp(room)};
    }
    double room = (r.high - r.low) * share;
    if (!(r.high - r.low > fabs(r.high) * 1e-12)) room = r.high ? fabs(r.high) * 0.1 : 1;
    return (plot_range){r.low - room, r.high + room};
}

bool plot_ranges(const plot *p, plot_range *x, plot_range *y)
{
    *x = *y = (plot_range){INFINITY, -INFINITY};
    for (int s = 0; s < p->series_count; s++) {
        const plot_series *series = &p->series[s];
        for (int64_t i = 0; i < series->count; i++) {
            if (!plot_shown(p, series->x[i], series->y[i])) continue;
            include(x, series->x[i]);
            include(y, series->y[i]);
        }
    }
    if (!(x->low <= x->high)) return false;
    for (int l = 0; l < p->level_count; l++)
        if (isfinite(p->levels[l].y) && (!p->log_y || p->levels[l].y > 0)) include(y, p->levels[l].y);
    *x = with_room(*x, p->log_x, 0);
    *y = with_room(*y, p->log_y, 0.04);
    return x->high > x->low && y->high > y->low && isfinite(x->high - x->low) && isfinite(y->high - y->low);
}

static int add_tick(double ticks[32], int count, plot_range r, double at)
{
    double slack = (r.high - r.low) * 1e-9;
    if (count >= 32 || at < r.low - slack || at > r.high + slack) return count;
    ticks[count] = at;
    return count + 1;
}

static int log_ticks(plot_range r, int most, double ticks[32])
{
    static const double inner[3][3] = {{1, 2, 5}, {1, 3, 0}, {1, 0, 0}};
    int first = (int)floor(log10(r.low)), last = (int)ceil(log10(r.high));
    for (int dense = 0; dense < 3 + 32; dense++) { /* the densest set that fits; then every 2nd, 3rd, ... power */
        int count = 0, stride = dense < 3 ? 1 : dense - 1;
        for (int e = first; e <= last; e++) {
            if ((e % stride + stride) % stride) continue;
            for (int i = 0; i < 3; i++) {
                double factor = inner[MIN(dense, 2)][i];
                if (factor) count = add_tick(ticks, count, r, factor * pow(10, e));
            }
        }
        if (count <= most) return count;
    }
    return 0;
}

int plot_ticks(plot_range r, bool logarithmic, int most, double ticks[32])
{
    most = MIN(most, 32);
    if (most < 1) return 0;
    if (logarithmic && r.high / r.low > 3) return log_ticks(r, most, ticks);
    double raw = (r.high - r.low) / most, power = pow(10, floor(log10(raw))), step = power;
    static const double factors[] = {1, 2, 5, 10, 20, 50};
    for (size_t f = 0; f < COUNT(factors); f++) {
        step = factors[f] * power;
        double first = ceil(r.low / step - 1e-9), last = floor(r.high / step + 1e-9);
        if (last - first + 1 > most) continue;
        int count = 0;
        for (double k = first; k <= last && count < 32; k++) ticks[count++] = k * step + 0.0; /* no minus zero */
        return count;
    }
    return 0;
}

char *plot_number(char out[32], double value, double step)
{
    double size = fabs(value), unit = fabs(step);
    if (size == 0)
        snprintf(out, 32, "0");
    else if (size >= 1e6 && size < 1e12 && unit >= 1e3)
        snprintf(out, 32, "%.4g%s", value / (size >= 1e9 ? 1e9 : 1e6), size >= 1e9 ? "G" : "M");
    else if (size >= 1e4 && size < 1e6 && unit >= 100)
        snprintf(out, 32, "%.4gk", value / 1e3);
    else if (size < 1e-3 || size >= 1e6)
        snprintf(out, 32, "%.3g", value);
    else {
        int digits = unit > 0 && unit < 1 ? (int)ceil(-log10(unit) - 1e-9) : 0;
        snprintf(out, 32, "%.*f", MIN(digits, 6), value);
    }
    return out;
}
