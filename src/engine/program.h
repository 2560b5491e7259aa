/* A compiled graph: kernels chosen, memory planned, ready to run. */
#ifndef ENGINE_PROGRAM_H
#define ENGINE_PROGRAM_H

#include "engine/store.h"
#include "plan/plan.h"

typedef enum buffer_kind {
    BUFFER_ARENA, /* an activation or workspace: offset in the store's arena */
    BUFFER_STATE, /* a state of the store */
    BUFFER_OWN    /* inputs, outputs, uniforms, derived values: kept by the program */
} buffer_kind;

/* The memory of one storage root. */
typedef struct buffer {
    buffer_kind kind;
    int64_t bytes;
    int64_t first, last; /* steps in which it is alive */
    int64_t offset;      /* in the arena, the state's memory, or the program's own block */
    store_state *state;
    const value *value; /* NULL for scratch */
} buffer;

/* A part of the program's own block that is reached through staging; nothing is open where `slots` is 0. */
typedef struct stage {
    void *staging;
    int slots;
    int64_t offset, bytes; /* of the block */
    char *host;            /* the buffer that is being filled, or NULL */
    uint64_t written;      /* a bit an input: those that are in it */
} stage;

struct ingot_program {
    build *graph;
    device *device;
    ingot_store *store;
    bool owns_store;
    ARRAY(buffer) buffers;
    int *buffer_of; /* by value id: index into buffers of the value's storage, or -1 */
    allocation own; /* inputs, outputs, uniforms, derived */
    int64_t own_bytes, arena_bytes, lower_bound_bytes;
    work prepare, main; /* hoisted steps, run once; and the rest */
    int *scratch_of;    /* by step of main, then of prepare: buffer of the scratch, or -1 */
    void *compiled;     /* made before the first run in the memory that it is bound to */
    int64_t bindings;   /* how often it was bound: memory moves when a larger program is compiled */
    stage inputs, results;
    struct chain *alone; /* program_run_staged */
    bool prepared;
    bool spread; /* memory of the arena rests before it is used again, so that steps may run side by side */
    bool bound;
    int64_t groups, *group_ends, *group_ns; /* program_time_groups; groups 0: not asked for */
    ARRAY(store_group *) derived, updates;  /* groups that it reads as they were made, and those it changes */
};

/* Points every tensor at its memory; called again when the arena moves. */
status program_bind(ingot_program *p);
/* What comes before the steps of a run, and after them: for those who run them otherwise than ingot_run. */
status program_begin_run(ingot_program *p, const ingot_scalar *uniforms);
void program_end_run(ingot_program *p);
/* Whether a run is looked at on its way: timed, poisoned. Then it is no part of a chain. */
bool program_is_watched(const ingot_program *p);

/* From here on `slots` writes of all inputs, and as many results, may be under way: staging.c. */
status program_stage(ingot_program *p, int slots);
void program_unstage(ingot_program *p);
status stage_write(ingot_program *p, int64_t input, dtype given, const void *data);
status stage_send(ingot_program *p);
/* Whether every input was written since the last run, so that a work of `arrive` can take them all. */
bool stage_is_full(const ingot_program *p);
/* The outputs as they are after the runs so far; read from the slot once they are there. */
status program_fetch(ingot_program *p, int *slot);
status program_fetched(ingot_program *p, int slot, const char *output, void *data, int64_t bytes);

/* Two programs over one store, the last behind the first, in one submission; the same twice: one by itself. They must
 * outlive it. */
typedef struct chain chain;
status chain_new(ingot_program *first, ingot_program *last, chain **out);
/* A staged program as a run of its own whose inputs came by ingot_write; *host: the first of its outputs, valid until
 * as many more runs as it has slots. */
status program_run_staged(ingot_program *p, const void **host);
/* slot: where program_fetched(last, ..) finds the results; -1: ingot_read does. */
status chain_run(chain *c, int *slot);
void chain_free(chain *c);
/* Where an element of a value lies: for tests and the checked run. */
status program_value_read(ingot_program *p, const value *v, double *out, int64_t count);

/* Runs step by step and looks at every float output after its step: at the first NaN or infinity *bad is the step and the
 * status INGOT_ERROR_NOT_FINITE with the op, its scope and the index of the element in the message. */
status program_run_checked(ingot_program *p, const ingot_scalar *uniforms, const step **bad);

/* From here on each run leaves in main.ns[i] what step i took. */
status program_time_steps(ingot_program *p);
/* From here on each run is cut after the steps `ends` (ascending, the last one main.count), the device is waited for after
 * each part, and group_ns[i] is what part i took on the host's clock. One part is the whole program as it runs otherwise.
 * count 0: no longer. */
status program_time_groups(ingot_program *p, const int64_t *ends, int64_t count);

/* Host memory to device memory and back, with conversion where the device keeps another dtype. */
status device_write_as(device *d, const allocation *to, int64_t offset, dtype storage, const void *data, dtype given,
                       int64_t count);
status device_read_as(device *d, const allocation *from, int64_t offset, dtype storage, void *data, dtype wanted,
                      int64_t count);

/* joined.c */
status join_products(ingot_store *s, build *b); /* of one input; before gradients are made, else join_states does it */
status join_states(ingot_program *p);           /* neighbours that are read or updated together; before derive_states */

/* derived.c */
status derive_states(ingot_program *p);      /* casts of states become their 16-bit copies; before the passes */
status derive_note_groups(ingot_program *p); /* fills p->derived and p->updates */
status derive_before_run(ingot_program *p);
void derive_after_run(ingot_program *p);

/* assign.c: storage roots to buffers, lifetimes, offsets, steps. */
status program_assign(ingot_program *p);

/* The memory plan as an SVG picture. */
void program_draw_plan(const ingot_program *p, text *out);

#endif
