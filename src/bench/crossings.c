/* Who wins at each size of the ladder, and where one rung overtakes another. */
#include "bench/ladder.h"

#include <math.h>

static const json_t *row_at(const json_t *rows, const json_t *like, int64_t size)
{
    size_t i;
    const json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i,
                       row) if (rows_agree(row, like, "dtype") && rows_agree(row, like, "backend") &&
                                rows_agree(row, like, "rung") &&
                                json_integer_value(json_object_get(row, "size")) == size &&
                                json_object_get(row, "median_ns")) return row;
    return NULL;
}

static double time_at(const json_t *rows, const json_t *like, int64_t size)
{
    const json_t *row = row_at(rows, like, size);
    return row ? json_number_value(json_object_get(row, "median_ns")) : 0;
}

static void put_name(text *out, const json_t *row)
{
    text_printf(out, "%s", row_text(row, "rung"));
    if (strcmp(row_text(row, "backend"), "cpu")) text_printf(out, " on %s", row_text(row, "backend"));
}

/* Between two sizes a leads at the first and b at the second, each by more than 5 %: straight lines in log and log. */
static void put_crossing(const json_t *rows, const json_t *a, const json_t *b, int64_t from, int64_t to, text *out)
{
    double a0 = time_at(rows, a, from), a1 = time_at(rows, a, to), b0 = time_at(rows, b, from),
           b1 = time_at(rows, b, to);
    if (!(a0 > 0 && a1 > 0 && b0 > 0 && b1 > 0)) return;
    double before = log(b0 / a0), after = log(b1 / a1);
    if (!(before > 0.05 && after < -0.05)) return;
    double at = exp(log((double)from) + before / (before - after) * log((double)to / (double)from));
    text_printf(out, "%s: from about %.0f on ", row_text(a, "dtype"), at);
    put_name(out, b);
    text_puts(out, " is ahead of ");
    put_name(out, a);
    text_printf(out, " (%.2fx at %lld, %.2fx at %lld)\n", a0 / b0, (long long)from, a1 / b1, (long long)to);
}

static void put_winner(const json_t *row, text *out)
{
    if (!json_is_true(json_object_get(row, "winner"))) return;
    text_printf(out, "%s %lld: ", row_text(row, "dtype"), (long long)json_integer_value(json_object_get(row, "size")));
    put_name(out, row);
    text_printf(out, " wins with %.4g GFLOP/s\n", json_number_value(json_object_get(row, "gflops")));
}

void ladder_crossings(const json_t *rows, text *out)
{
    size_t i, j, k;
    json_t *all = (json_t *)(uintptr_t)rows, *row, *other, *next;
    json_array_foreach(all, i, row) /* sizes come in order in the rows of the first rung of each dtype */
    {
        if (!rows_agree(row, json_array_get(all, 0), "rung") || !rows_agree(row, json_array_get(all, 0), "backend"))
            continue;
        json_array_foreach(all, j, other) if (rows_agree(row, other, "dtype") && rows_agree(row, other, "size"))
            put_winner(other, out);
    }
    /* Each pair once a pair of neighbouring sizes: `next` is the following size of the same rung. */
    json_array_foreach(all, i, row)
    {
        int64_t size = json_integer_value(json_object_get(row, "size")), to = 0;
        json_array_foreach(all, k, next)
        {
            int64_t found = json_integer_value(json_object_get(next, "size"));
            if (found > size && (!to || found < to)) to = found;
        }
        if (!to) continue;
        json_array_foreach(all, j, other) if (rows_agree(row, other, "dtype") && rows_agree(row, other, "size") &&
                                              i != j) put_crossing(rows, row, other, size, to, out);
    }
    text_puts(out, "");
}
