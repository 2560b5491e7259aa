/* Reading RAPL. */
#include "bench/energy.h"

#include <stdio.h>

static bool read_number(const char *path, double *out)
{
    FILE *file = fopen(path, "r");
    if (!file) return false;
    bool good = fscanf(file, "%lf", out) == 1;
    fclose(file);
    return good;
}

void energy_open(energy_counter *e, const char *root)
{
    *e = (energy_counter){0};
    for (int i = 0; i < (int)COUNT(e->path); i++) {
        char path[128];
        int length = snprintf(path, sizeof path, "%s/intel-rapl:%d/energy_uj", root, i);
        if (length >= (int)sizeof e->path[0] || !read_number(path, &e->last[e->count])) continue;
        memcpy(e->path[e->count], path, (size_t)length + 1);
        snprintf(path, sizeof path, "%s/intel-rapl:%d/max_energy_range_uj", root, i);
        if (!read_number(path, &e->range[e->count])) e->range[e->count] = 0;
        e->count++;
    }
}

double energy_joules(energy_counter *e)
{
    double sum = 0, now;
    for (int i = 0; i < e->count; i++) {
        if (!read_number(e->path[i], &now)) return -1;
        sum += now - e->last[i] + (now < e->last[i] ? e->range[i] : 0);
        e->last[i] = now;
    }
    return e->count ? sum * 1e-6 : -1;
}
