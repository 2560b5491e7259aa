/* The table of built-in ops, made from ops.def. */
#include "ops/table.h"

const op_def *const op_table[] = {
#define OP(name) &op_##name##_def,
#include "ops/ops.def"
#undef OP
    NULL,
};

const op_def *op_find(const char *name)
{
    for (const op_def *const *op = op_table; *op; op++)
        if (!strcmp((*op)->name, name)) return *op;
    return NULL;
}
