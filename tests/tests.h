/* What every test program includes: cmocka, with the headers that it wants before itself. */
#ifndef TESTS_TESTS_H
#define TESTS_TESTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ingot/context.h"

/* The call must succeed; else the test ends with the context's message. OK takes the `ctx` in scope. */
#define OK_OF(ctx_, call)                                                                                              \
    do {                                                                                                               \
        if (call) fail_msg("%s: %s", #call, ingot_message(ctx_));                                                      \
    } while (0)
#define OK(call) OK_OF(ctx, call)

#endif
