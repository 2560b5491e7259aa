/* Build a graph of values, compile it for a device once, run it many times.
 *
 *     ingot_build *b = ingot_build_new(ctx, "norm");
 *     ingot_value *x = ingot_input(b, "x", INGOT_F32, INGOT_SHAPE(4, 3));
 *     ingot_output(b, "length", ingot_sqrt(b, ingot_sum(b, ingot_mul(b, x, x), -1, 0)));
 *     ingot_program *p;
 *     if (ingot_compile(b, device, NULL, &p)) return puts(ingot_message(ctx));
 *
 * A builder keeps its first error: later calls do nothing and return NULL, ingot_compile returns the error. So a model is
 * written without an `if` a line, and no error is lost. Values belong to their builder; ingot_compile takes the builder
 * and frees it with the program, or at once when it fails.
 *
 * State is a value with a name that outlives a run: weights, moments, caches, counters. ingot_state_update is the only
 * effect a graph has: at most once per state and program, and every read of the old value happens before it.
 */
#ifndef INGOT_GRAPH_H
#define INGOT_GRAPH_H

#include "ingot/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_MAX_RANK 6

/* dim[0] is the outermost; rank 0 is a scalar. */
typedef struct ingot_shape {
    int64_t rank;
    int64_t dim[INGOT_MAX_RANK];
} ingot_shape;

static inline ingot_shape ingot_shape_of(int64_t rank, const int64_t *dim)
{
    ingot_shape s = {rank, {0}};
    for (int64_t i = 0; i < rank && i < INGOT_MAX_RANK; i++) s.dim[i] = dim[i];
    return s;
}

/* INGOT_SHAPE(4, 3): up to 6 dims. INGOT_SCALAR: none. */
#define INGOT_SCALAR ingot_shape_of(0, (const int64_t *)0)
#ifdef __cplusplus
} /* templates have no C names */
template <typename... Dims> inline ingot_shape ingot_shape_make(Dims... dims)
{
    const int64_t list[] = {static_cast<int64_t>(dims)...};
    return ingot_shape_of(sizeof...(dims), list);
}
extern "C" {
#define INGOT_SHAPE(...) ingot_shape_make(__VA_ARGS__)
#else
#define INGOT_SHAPE_COUNT(...) (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define INGOT_SHAPE(...)       ingot_shape_of(INGOT_SHAPE_COUNT(__VA_ARGS__), (const int64_t[]){__VA_ARGS__})
#endif

typedef struct ingot_build ingot_build;
typedef struct ingot_value ingot_value;

/* NULL only when memory is out. `name` shows in dumps and messages. */
INGOT_API ingot_build *ingot_build_new(ingot_context *ctx, const char *name);
INGOT_API void ingot_build_free(ingot_build *b); /* only for a builder that was never compiled */
INGOT_API ingot_status ingot_build_status(const ingot_build *b);
INGOT_API ingot_context *ingot_build_context(const ingot_build *b);

INGOT_API ingot_shape ingot_shape_get(const ingot_value *v); /* a scalar's for NULL */
INGOT_API ingot_dtype ingot_dtype_get(const ingot_value *v);

/* Filled by the host before a run (ingot_write). */
INGOT_API ingot_value *ingot_input(ingot_build *b, const char *name, ingot_dtype dtype, ingot_shape shape);
/* A scalar passed by value to each ingot_run, in the order of declaration. */
INGOT_API ingot_value *ingot_uniform(ingot_build *b, const char *name, ingot_dtype dtype);
/* Every element equal to `value`. */
INGOT_API ingot_value *ingot_constant(ingot_build *b, double value, ingot_dtype dtype, ingot_shape shape);
/* 0, 1, 2, ... along `axis` of `shape`. */
INGOT_API ingot_value *ingot_iota(ingot_build *b, ingot_dtype dtype, ingot_shape shape, int axis);
/* Read by the host after a run (ingot_read). */
INGOT_API void ingot_output(ingot_build *b, const char *name, ingot_value *v);

/* `name` is prefixed with the builder's scopes. The same name, dtype and shape give the same value. */
INGOT_API ingot_value *ingot_state(ingot_build *b, const char *name, ingot_dtype dtype, ingot_shape shape);
/* A state that lies with others of its `group` in one flat buffer, in the order of declaration. */
INGOT_API ingot_value *ingot_state_in(ingot_build *b, const char *name, ingot_dtype dtype, ingot_shape shape,
                                      const char *group);
/* From here on `state` holds `v` (same dtype and shape); returns the new value, for reads after the update. */
INGOT_API ingot_value *ingot_state_update(ingot_build *b, ingot_value *state, ingot_value *v);

/* Names of states made between the two are "scope.name"; scopes nest. */
INGOT_API void ingot_scope_begin(ingot_build *b, const char *format, ...) INGOT_PRINTF(2, 3);
INGOT_API void ingot_scope_end(ingot_build *b);

/* d loss / d wrt[i] for each i, as new values in out[]; loss is a scalar. A wrt that loss does not depend on gets zeros
 * and a warning in the log. */
INGOT_API void ingot_gradients(ingot_build *b, ingot_value *loss, ingot_value *const *wrt, int count,
                               ingot_value **out);

/* What is computed between the two is computed again in the backward pass instead of being kept. */
INGOT_API void ingot_recompute_begin(ingot_build *b);
INGOT_API void ingot_recompute_end(ingot_build *b);

#ifdef __cplusplus
}
#endif
#endif
