/* The store: state by name, on one device, shared by every program that is compiled with it; and the arena that those
 * programs share for activations.
 *
 * States of a group lie one after the other in one buffer, each at a multiple of 64 bytes, in the order of declaration.
 * The group as a whole is a state too, flat, named "@<group>": one optimizer launch and one norm for all of it. A group is
 * closed when a program that uses it is compiled.
 *
 * A derived group holds the members of a float32 group in 16 bits, "<name>@bfloat16" in "<group>@bfloat16", at the same
 * places: what programs that only read a state cast it to. It is made anew before a run that reads it when the group it
 * came from has changed since; an optimizer that writes both keeps it fresh for nothing (engine/derived.c). Where the
 * master names an rng, it is rounded by chance, by seed and step, so that making it again gives the same bits.
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
    bool joined;        /* several neighbours as one: they have names of their own as well */
} store_state;

typedef struct store_group {
    const char *name;
    dtype dtype, storage;
    int64_t count; /* elements with the padding between members */
    bool closed;
    allocation memory;
    uint64_t version;           /* one more with each write from outside and each run that updates a member */
    struct store_group *master; /* of a derived group, else NULL */
    uint64_t made_from;         /* the master's version that a derived group holds */
    struct ingot_program *make; /* makes it anew */
    const char *rng;            /* state that its 16-bit copies are rounded by chance with; NULL: to nearest */
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
store_group *store_find_group(const ingot_store *s, const char *name);
/* The group that a state lies in or, as "@<group>", is; NULL for one that is alone. */
store_group *store_group_of(const ingot_store *s, const store_state *state);
/* The 16-bit copy of a state in a float32 group, with its group; made known if it is not. */
status store_derive(ingot_store *s, const store_state *of, dtype d, store_state **out);
/* Two states of a group and all that lies between them as one, along their first dim; made known if it is not. */
status store_join(ingot_store *s, const store_state *first, const store_state *last, store_state **out);
/* Memory for a state, or for its whole group; zeroed. */
status store_allocate(ingot_store *s, store_state *state);
/* At least `bytes` of activations; every program of the store is bound anew when they move. */
status store_reserve(ingot_store *s, int64_t bytes);
/* Bytes that all declared states take. */
int64_t store_state_bytes(const ingot_store *s);

/* The whole group as one flat value (count) in a builder; 0 elements is an error. */
value *ingot_state_group(build *b, ingot_store *s, const char *group);

#endif
