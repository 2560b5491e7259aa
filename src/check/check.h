/* The tester behind `ingot check` and tests/ops: whatever a graph computes on a device, against `ref` in float64.
 *
 *     check_options o = {.device = "cpu"};
 *     check_report report = {0};
 *     TRY(check_ops(ctx, &o, &report));
 *     for (int64_t i = 0; i < report.rows.count; i++) puts(report.rows.at[i].failure ? "FAIL" : "ok");
 *     check_report_free(&report);
 *
 * An op is checked in all its samples, contiguous, strided and in memory that it may overwrite, with poisoned memory,
 * twice for the same bits; its gradient against central differences of `ref` and against `ref`'s gradient. How far a
 * result may be off is not a constant of a table but follows from the graph: error_bound.c.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include "graph/kernel.h"
#include "ingot/program.h"
#include "ops/table.h"

typedef struct check_options {
    const char *device;       /* "cpu" */
    const char *level;        /* of the device; NULL: its best */
    const char *prefer;       /* kernels by name; NULL: none */
    bool no_overlap;          /* ingot_device_options.no_overlap */
    int persistent;           /* ingot_device_options.persistent */
    const char *cache;        /* of kernels compiled at run time; NULL: none */
    const op_def *const *ops; /* ends with NULL; NULL: the built-in ones */
    dtype dtype;              /* of float inputs of ops; what the device does not take is skipped */
    uint64_t seed;            /* of values, cotangents and directions */
    bool small;               /* what a slow tool watches: samples of up to CHECK_SMALL elements an input, of the device
                                 only what runs on it (no finite differences) */
} check_options;

#define CHECK_SMALL 4096

/* What came of one op, or of one graph. */
typedef struct check_row {
    const char *name;
    int samples, runs, skipped; /* skipped: dtypes or layouts that the device does not take */
    int failures;
    double worst;          /* largest error / tolerance of an output or a gradient; above 1 fails */
    double worst_gradient; /* largest error / tolerance of a directional derivative */
    double seconds;
    char *failure; /* the first one: sample, layout, output, element, numbers, seed; NULL: none */
    text warnings; /* a line each: trainable tensors that get no gradient */
} check_row;

typedef struct check_report {
    arena *arena;
    ARRAY(check_row) rows;
    int failures;
} check_report;

/* OK also when something failed: that is in the report. An error means that nothing could be checked. */
status check_ops(context *ctx, const check_options *o, check_report *out);
void check_report_free(check_report *report);

/* How an input is filled. */
typedef struct check_fill {
    sample_values values;
    double scale;  /* of floats; 0 means 1 */
    int64_t below; /* of integers; 0 means 8 */
    bool sorted;
    bool constant; /* no gradient is taken for it */
} check_fill;

/* A graph that is checked: built several times, in the dtypes and layouts that the check asks for. */
typedef struct check_graph check_graph;
typedef struct check_subject {
    const char *name;
    /* Declares inputs and outputs with the functions below; the order must be the same each time. Errors stay in the
     * builder. */
    void (*build)(check_graph *g, const void *user);
    /* How inputs and states are filled that it makes without check_input. NULL: 0.3 N(0, 1), integers below 8. */
    check_fill (*fill)(const void *user, const value *port);
    const void *user;
    bool differentiable;        /* the loss is a sum of the outputs with random weights */
    bool no_finite_differences; /* gradients are compared with ref's only */
    bool warns;                 /* of sources whose gradient is zero everywhere */
    bool any_layout;            /* try the inputs strided and in reusable memory too */
    bool deep;                  /* layers upon layers: errors are estimated as deviations (error_bound.h) */
    bool linear_errors;         /* rounding errors of sums may all point the same way: equal or offset values */
} check_subject;

build *check_builder(check_graph *g);
value *check_input(check_graph *g, const char *name, dtype type, shape s, check_fill fill);
void check_output(check_graph *g, const char *name, value *v);
void check_side_output(check_graph *g, const char *name, value *v); /* compared, but no part of the loss */

/* A small model of each family, whole: the loss, the logits and every parameter's gradient. Adds a row each. */
status check_models(context *ctx, const check_options *o, check_report *out);
/* Small models that write after a prompt, in o->dtype: decode.c. */
status check_decoding(context *ctx, const check_options *o, check_report *out);
/* Checks one graph and adds a row. */
status check_subject_run(context *ctx, const check_options *o, const check_subject *subject, check_report *out);

#endif
