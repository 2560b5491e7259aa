/* How runs follow each other when nobody watches: what the host asks for, how busy the device is, where it idles. */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include "bench/profile_run.h"

/* What is measured: `step` is called for each run, with up to `ahead` more under way when it returns, for which `drain`
 * waits. */
typedef struct flow_subject {
    status (*step)(void *user);
    status (*drain)(void *user);
    void *user;
    int ahead;
} flow_subject;

/* Events of the traced runs go to `trace`. */
status flow_measure(device *d, int64_t runs, const flow_subject *x, profile_flow *out, text *trace);

#endif
