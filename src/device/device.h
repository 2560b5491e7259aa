/* What a device is: the whole contract for a backend. Fourteen functions, and a table of kernels.
 *
 * Memory is handed out as allocations; a tensor names one and an offset. Errors stick: after a failed launch every call
 * returns the first error, with the kernel's name, until the device is closed. Several devices may be open at once, and
 * several threads may use one: alloc, write, read and run are safe to call from any of them.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include "device/tuning.h"
#include "ingot/program.h"

typedef struct ingot_device device;

/* What is to run: steps in order, in memory that stays where it is until the work is dropped. */
typedef struct work {
    const char *name;
    step *steps;
    int64_t count;
    int64_t *ns; /* count entries that a timed run fills, or NULL */
} work;

typedef struct device_def {
    const char *name, *summary;
    bool promotes_to_f64; /* every float value is computed and kept in float64: the oracle */
    bool lowers_all;      /* takes only primitives: the oracle again */
    bool by_name_only;    /* --device auto does not take it: the oracle, the null device */
    bool runs_nothing;    /* results are not written: the null device */
    bool side_by_side;    /* steps that share no memory run at the same time */
    int64_t rows_at_once; /* token rows that keep it busy: the parts in which a prompt is read; 0: it does not care */
    bool has_tf32;        /* obeys ingot_device_options.tf32 */
    status (*open)(context *ctx, const ingot_device_options *options, device *d); /* sets caps, kernels, self */
    void (*close)(device *d);
    status (*alloc)(device *d, int64_t bytes, allocation *out);
    void (*free)(device *d, allocation *a);
    /* `bytes` from offset on, with a pattern of pattern_bytes repeated; the last repeat may be cut short. */
    status (*fill)(device *d, const allocation *a, int64_t offset, const void *pattern, int64_t pattern_bytes,
                   int64_t bytes);
    status (*write)(device *d, const allocation *to, int64_t offset, const void *from, int64_t bytes);
    status (*read)(device *d, const allocation *from, int64_t offset, void *to, int64_t bytes);
    status (*compile)(device *d, const work *w, void **out); /* what it keeps of the work; may be NULL */
    status (*run)(device *d, const work *w, void *compiled);
    void (*drop)(device *d, void *compiled);
    /* The first of the steps that share a launch with this one, of which there are several; -1: it has its own. NULL: always. */
    int64_t (*launch_of)(const void *compiled, int64_t step);
    status (*sync)(device *d);
    int64_t (*memory_in_use)(const device *d); /* bytes, by the driver's own count; NULL: the process's memory */
    int64_t (*memory_left)(const device *d);   /* bytes that alloc may still hand out; NULL: what the host has left */
    void (*describe)(const device *d, text *out); /* a line for `ingot devices` */
} device_def;

struct ingot_device {
    context *ctx;
    const device_def *def;
    void *self; /* the backend's own */
    const device_caps *caps;
    kernel_table kernels;
    const kernel_def *any_op; /* takes every op that no kernel of the table takes; NULL but for null */
    kernel_level level;       /* the ceiling */
    bool row_invariant, tf32;
    char *prefer;   /* names of kernels, with commas between; NULL: none */
    tuning *tuning; /* what was measured here; NULL: nothing. Used under `best` */
    bool poison;    /* debug: new memory and dead arena bytes are NaN, guards around buffers */
};

/* The devices of this build, from devices.def; ends with NULL. */
extern const device_def *const device_table[];

/* The kernel that a node gets: one that is preferred by name, what tuning says where it fits, else the highest level at or below the ceiling that
 * matches, earlier in the table first. NULL when there is none. */
const kernel_def *device_kernel(const device *d, const node *n);
/* Whether some kernel of the table is the op's, whatever it matches. */
bool device_has_kernels_for(const device *d, const op_def *op);
bool device_kernel_fits(const device *d, const kernel_def *k, const node *n);
/* From here on `best` follows the file; INGOT_ERROR_UNSUPPORTED when it was measured on another machine. */
status device_read_tuning(device *d, const char *path);
/* "cpu: 2 threads, AVX-512 kernels, ...": what a tuning file holds for. Freed by the caller; NULL: no memory. */
char *device_place(const device *d);
/* What is in use of the memory that the device computes in, as the driver or the system counts it. */
uint64_t device_memory_in_use(const device *d);
/* What is left of it: no limit for a device that runs nothing. */
uint64_t device_memory_left(const device *d);
bool kernel_level_parse(const char *name, kernel_level *out);
const char *kernel_level_name(kernel_level level);
/* Whether a ceiling admits a level: blas kernels run under `blas` and `best` only. */
bool kernel_level_admits(kernel_level ceiling, kernel_level level);

#endif
