/* The store: state by name, on one device, shared by every program that is compiled with it; and the arena that those
 * programs share for activations.
 *
 * States of a group lie one after the other in one buffer, each at a multiple of 64 bytes, in the order of declaration.
 * The group as a whole is a state too, flat, named "@<group>": one optimizer launch and one norm for all of it. A group is
 * closed when a program that uses it is compiled.
 */
#ifndef ENGINE_STORE_H
#define ENGINE_STORE_H

#include "device/device.h"

typedef struct store_state {
    const char *name;
    dtype dtype; /* as the graph gave it; the device may keep another (storage) */
    dtype storage;
    shape shape;
    const char *group;  /* "" for none */
    allocation *memory; /* NULL until allocated */
    int64_t offset;     /* bytes */
    uint64_t version;   /* one more with each write from outside and each program that updates it */
} store_state;

typedef struct store_group {
    const char *name;
    dtype dtype, storage;
    int64_t count; /* elements with the padding between members */
    bool closed;
    allocation memory;
} store_group;

struct ingot_store {
    device *device;
    arena *names;
    ARRAY(store_state *) states;
    ARRAY(store_group *) groups;
    allocation activations; /* grows to the largest program's */
    ARRAY(struct ingot_program *) programs;
    int64_t allocated_bytes;
    bool plan_only; /* nothing is allocated: for ingot plan */
};

/* Finds or adds; fails when the name is known with another dtype or shape, or when its group is closed. */
status store_declare(ingot_store *s, const char *name, dtype d, shape sh, const char *group, store_state **out);
store_state *store_find(const ingot_store *s, const char *name);
/* Memory for a state, or for its whole group; zeroed. */
status store_allocate(ingot_store *s, store_state *state);
/* At least `bytes` of activations; every program of the store is bound anew when they move. */
status store_reserve(ingot_store *s, int64_t bytes);
/* Bytes that all declared states take. */
int64_t store_state_bytes(const ingot_store *s);

/* The whole group as one flat value (count) in a builder; 0 elements is an error. */
value *ingot_state_group(build *b, ingot_store *s, const char *group);

#endif
