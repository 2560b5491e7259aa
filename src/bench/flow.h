/* How runs follow each other when nobody watches: what the host asks for, how busy the device is, where it idles. */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include "bench/profile_run.h"

/* `step` is called for each run, `drain` waits for what is under way. Events of the traced runs go to `trace`. */
status flow_measure(device *d, int64_t runs, status (*step)(void *user), status (*drain)(void *user), void *user,
                    profile_flow *out, text *trace);

#endif
