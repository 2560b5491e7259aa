/* Joules that the processor packages used, from Linux's RAPL counters (Intel, and AMD through the same files). */
#ifndef BENCH_ENERGY_H
#define BENCH_ENERGY_H

#include "base/base.h"

typedef struct energy_counter {
    char path[8][96];
    double last[8], range[8]; /* microjoules; a counter that passes its range begins anew */
    int count;                /* packages; 0: not readable here */
} energy_counter;

/* `root`: "/sys/class/powercap". */
void energy_open(energy_counter *e, const char *root);
/* Joules since the last call, or since energy_open; < 0: not readable. */
double energy_joules(energy_counter *e);

#endif
