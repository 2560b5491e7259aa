/* Options that several verbs share: a model's shape, and the device that runs it. */
#ifndef CLI_MODEL_OPTIONS_H
#define CLI_MODEL_OPTIONS_H

#include "cli/verb.h"
#include "ingot/model.h"

typedef struct shape_options {
    const char *preset, *family;
    int64_t vocab_size, layers, heads, kv_heads, head_dim, dim, ffn_dim, classes;
    double rope_theta, norm_eps, init_std;
    bool tied, bias, post_norm, sinusoidal;
} shape_options;
#define SHAPE_TABLE(type, field)                                                                                       \
    {                                                                                                                  \
        "Model", shape_lines, SHAPE_LINES, offsetof(type, field)                                                       \
    }
enum { SHAPE_LINES = 16 };
extern const option shape_lines[SHAPE_LINES];

/* For completion. */
void names_of_presets(text *out);
void names_of_families(text *out);
void names_of_devices(text *out);
void names_of_levels(text *out);
void names_of_dtypes(text *out); /* those that models compute in */

/* Fills what the shape says; context, dropout and end tokens are the caller's to add. */
ingot_model_options shape_model_options(const call *c, const shape_options *o);

typedef struct device_flags {
    const char *device, *tuning, *prefer, *kernel_cache;
    int cpu_level, dtype;
    int64_t most_memory, persistent;
    bool row_invariant, tf32, overlap, step_by_step;
} device_flags;
#define DEVICE_TABLE(type, field)                                                                                      \
    {                                                                                                                  \
        "Device", device_lines, DEVICE_LINES, offsetof(type, field)                                                    \
    }
/* Without --dtype, for verbs that take a list of them: device_flags_choose sets one; false: models do not compute in it. */
#define DEVICE_TABLE_OF_DTYPES(type, field)                                                                            \
    {                                                                                                                  \
        "Device", device_lines, DEVICE_LINES - 1, offsetof(type, field)                                                \
    }
bool device_flags_choose(device_flags *o, ingot_dtype d);
enum { DEVICE_LINES = 12 };
extern const option device_lines[DEVICE_LINES];

/* With the choices of --tuning, else those of this machine where there are any. */
status device_flags_open(call *c, const device_flags *o, ingot_device **out);
/* The same for a run that goes on: with the choices that the run keeps, or with none. What does not fit any more is said. */
status device_flags_resume(call *c, const device_flags *o, const char *run, ingot_device **out);
/* Keeps a new run's choices in its folder; nothing where there are none. */
status device_keep_tuning(const ingot_device *d, const char *run);
/* Where the choices of this machine are kept: ~/.cache/ingot/tuning-cpu.json. In the arena; NULL: there is no home. */
const char *tuning_default_path(const call *c, const char *device);
/* --kernel-cache, or the default; NULL: kernels are not kept. */
const char *kernel_cache_path(const call *c, const char *given);
/* The model computes in --dtype. */
status device_flags_set_dtype(const device_flags *o, ingot_model *m);

#endif
