/* The passes: each takes a graph and leaves a graph that verifies. The engine runs them in the order of this list.
 *
 *     ingot_gradients (autodiff, while building) -> recompute -> simplify -> match -> lower -> simplify -> absorb ->
 *     fuse -> choose -> hoist -> updates -> layout  ==>  a list of nodes, each with its kernel and its storage
 *
 * A pass sees the device only as a kernel_choice: a function that names the kernel for a node.
 */
#ifndef PASSES_PASSES_H
#define PASSES_PASSES_H

#include "graph/kernel.h"

typedef struct kernel_choice {
    const kernel_def *(*kernel)(const void *device, const node *n);
    const void *device;
    bool lowers_all;      /* every op that has a lower is lowered, kernel or not */
    bool promotes_to_f64; /* every float value becomes float64 */
    const char *device_name;
} kernel_choice;

/* How states lie, for passes that read several as one. */
typedef struct neighbours {
    bool (*follows)(const void *store, const value *state, const value *next); /* without a gap between them */
    const void *store;
} neighbours;

status pass_join(build *b, const neighbours *lie);        /* products of one input become one; before gradients */
status pass_recompute(build *b);                          /* ingot_recompute_begin / _end */
status pass_simplify(build *b);                           /* dead nodes, equal nodes, folded transposes, += products */
status pass_match(build *b, const kernel_choice *choice); /* what one kernel does becomes one op */
status pass_lower(build *b, const kernel_choice *choice); /* what has no kernel becomes smaller ops, to a fixed point */
status pass_promote(build *b);                            /* all floats to float64 */
status pass_absorb(build *b, const kernel_choice *choice); /* sums go into the op that makes an addend */
status pass_fuse(build *b);                                /* chains of pointwise nodes become one */
status pass_choose(build *b, const kernel_choice *choice); /* n->kernel for every node that has work */
status pass_hoist(build *b);                               /* marks what depends on nothing that a run changes */
status pass_updates(build *b); /* new values of states are written in place, or copied there */
status pass_layout(build *b, const kernel_choice *choice); /* views share storage, copies where kernels want them */

int drop_dead_nodes(build *b); /* how many went */
/* The node that sums the rows of v, however its leading dims are written; NULL: none. */
node *sum_of_rows(const value *v);
bool merge_concats(build *b, node *sum); /* for simplify: a + b of parts among zeros */

#endif
