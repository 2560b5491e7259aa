/* What `ingot plan` shows beside its numbers. */
#ifndef CLI_PLAN_H
#define CLI_PLAN_H

#include "cli/train.h"

enum { DUMP_MODEL, DUMP_GRAPH, DUMP_PLAN, DUMP_KERNELS };
enum { DUMP_TEXT, DUMP_DOT, DUMP_SVG };
extern const char *const dump_kinds[], *const dump_formats[];

/* To standard output. */
status plan_dump(call *c, ingot_device *d, const ingot_model *m, const ingot_train_options *o, int kind, int format);

#endif
