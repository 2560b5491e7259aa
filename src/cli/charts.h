/* Charts on standard output, as wide and as colourful as it takes. */
#ifndef CLI_CHARTS_H
#define CLI_CHARTS_H

#include "cli/verb.h"
#include "plot/plot.h"

void print_plot(call *c, const plot *p);
void print_bar_plot(call *c, const bar_plot *p);

#endif
