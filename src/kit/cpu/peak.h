/* The most multiply-adds a second: chains that wait for nobody, in registers, on the best instruction set that is here. */
#ifndef KIT_CPU_PEAK_H
#define KIT_CPU_PEAK_H

double peak_multiply_adds(long rounds); /* returns a sum that must be used */
double peak_flops_a_round(void);

#endif
