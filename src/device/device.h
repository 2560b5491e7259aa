/* What a device is: the whole contract for a backend. Fourteen functions and a table of kernels; of what may be NULL besides,
 * staging is for one that works on while its host does something else, launch_of and trace for those who look on.
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

/* The staging of a work's inputs, and of its results. */
typedef struct staging_pair {
    void *inputs, *results;
} staging_pair;

/* Host buffers beside a piece of device memory. What goes between them travels while runs go on, so that the host may fill
 * the next batch, or look at the last loss, without waiting for what it has submitted (device/staging.h). */
typedef struct staging_def {
    /* inputs: host to device, by fill and send; else device to host, by fetch and wait. */
    status (*open)(device *d, const allocation *memory, int64_t offset, int64_t bytes, bool inputs, int slots,
                   void **out);
    void (*close)(device *d, void *staging);
    /* The next buffer of `bytes`, free to be filled: it waits for what was sent from it `slots` calls ago. */
    status (*fill)(device *d, void *staging, void **host);
    /* A part of the buffer that was filled last: runs so far do not see it, the next one does. */
    status (*send)(device *d, void *staging, int64_t at, int64_t bytes);
    /* What the piece holds after the runs so far, into the next buffer; *slot names it. */
    status (*fetch)(device *d, void *staging, int *slot);
    status (*wait)(device *d, void *staging, int slot, const void **host);
    /* Steps of a work that do what send and fetch do, each time with the next buffer, so that nothing stands between two
     * runs. NULL: none. Of `arrive`, step.prepared is the staging of inputs, of `leave` a staging_pair. */
    const kernel_def *arrive, *leave;
    /* Before and after a run of such a work. The buffer that was filled last goes to the device; *slot is the result's. */
    status (*before)(device *d, const staging_pair *pair, int *slot);
    status (*after)(device *d, const staging_pair *pair);
} staging_def;

/* What a device did, by its own clock. */
typedef struct device_event {
    char name[96]; /* of the kernel, or the copy */
    bool is_copy;  /* between host and device */
    int lane;      /* events of one lane follow each other */
    int64_t begin_ns, end_ns;
} device_event;

typedef struct device_trace {
    ARRAY(device_event) events; /* in no order */
} device_trace;

/* What the host has asked of a device since it was opened. */
typedef struct device_counts {
    int64_t submissions; /* programs or parts of them, handed over in one call */
    int64_t launches;    /* kernels, copies and fills in those */
    int64_t transfers;   /* copies to and from the host */
    int64_t waits;       /* times that the host waited for the device */
    int64_t allocations;
} device_counts;

/* Of several threads; gives the sum. */
static inline int64_t device_count(int64_t *at, int64_t more)
{
    return __atomic_add_fetch(at, more, __ATOMIC_RELAXED);
}

typedef struct device_def {
    const char *name, *summary;
    bool promotes_to_f64; /* every float value is computed and kept in float64: the oracle */
    bool lowers_all;      /* takes only primitives: the oracle again */
    bool by_name_only;    /* --device auto does not take it: the oracle, the null device */
    bool runs_nothing;    /* results are not written: the null device */
    bool side_by_side;    /* steps that share no memory run at the same time */
    int64_t rows_at_once; /* token rows that keep it busy: the parts in which a prompt is read; 0: it does not care */
    bool runs_host_code;  /* calls functions of applications: the `cpu` of custom ops */
    bool joins;           /* launches cost: products of one input are made at once (ingot_device.joins) */
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
    /* With NULL its events are recorded from here on; else they are handed over, once all of them have happened. It may
     * refuse: not every machine has what records them. NULL: there is nothing to record beside the host's own clock. */
    status (*trace)(device *d, device_trace *out);
    const staging_def *staging;                /* NULL: runs are done when they return, and so are copies */
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
    const kernel_def *custom; /* takes applications' ops that bring source for it; NULL: the device compiles none */
    kernel_level level;       /* the ceiling */
    bool joins;               /* products of one input are joined where their weights lie side by side */
    bool row_invariant, tf32;
    char *prefer;   /* names of kernels, with commas between; NULL: none */
    tuning *tuning; /* what was measured here; NULL: nothing. Used under `best` */
    device_counts counts;
    bool step_by_step;   /* each kernel is waited for, so that an error is of the one that is named */
    int64_t most_bytes;  /* alloc hands out no more than this; 0: no limit */
    int64_t taken_bytes; /* by device_alloc */
    bool poison;         /* debug: new memory and dead arena bytes are NaN, guards around buffers */
};

/* The devices of this build, from devices.def; ends with NULL. */
extern const device_def *const device_table[];

/* The kernel that a node gets: one that is preferred by name, what tuning says where it fits, else, of those that match and
 * are not by request, the highest level at or below the ceiling, the first in the table. NULL when there is none. */
const kernel_def *device_kernel(const device *d, const node *n);
/* Whether some kernel of the table is the op's, whatever it matches. */
bool device_has_kernels_for(const device *d, const op_def *op);
bool device_kernel_fits(const device *d, const kernel_def *k, const node *n);
/* From here on `best` follows the file; INGOT_ERROR_UNSUPPORTED when it was measured on another machine. */
status device_read_tuning(device *d, const char *path);
/* "cpu: 2 threads, AVX-512 kernels, ...": what a tuning file holds for. Freed by the caller; NULL: no memory. */
char *device_place(const device *d);
/* alloc and free of the device, counted, and kept below most_bytes. */
status device_alloc(device *d, int64_t bytes, allocation *out);
void device_free(device *d, allocation *a);
/* The device's, or one that copies at once. */
const staging_def *device_staging(const device *d);
/* What is in use of the memory that the device computes in, as the driver or the system counts it. */
uint64_t device_memory_in_use(const device *d);
/* What is left of it: no limit for a device that runs nothing. */
uint64_t device_memory_left(const device *d);
bool kernel_level_parse(const char *name, kernel_level *out);
const char *kernel_level_name(kernel_level level);
/* Whether a ceiling admits a level: blas kernels run under `blas` and `best` only. */
bool kernel_level_admits(kernel_level ceiling, kernel_level level);

#endif
