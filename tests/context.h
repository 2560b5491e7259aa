/* One context for all tests of a program: cmocka_run_group_tests(tests, context_open, context_close). */
#ifndef TESTS_CONTEXT_H
#define TESTS_CONTEXT_H

#include "tests.h"

static ingot_context *ctx;

/* Two threads, so that loops are cut on any machine. */
static inline int context_open(void **state)
{
    (void)state;
    return ingot_context_new(&(ingot_context_options){.threads = 2}, &ctx);
}

static inline int context_close(void **state)
{
    (void)state;
    ingot_context_free(ctx);
    return 0;
}

#endif
