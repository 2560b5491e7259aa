/* The graph: values, the nodes that make them, and the builder that holds both until a program takes it.
 *
 * Nodes stand in a doubly linked list, in an order in which every value is made before it is used; passes insert, replace
 * and remove. Everything is allocated from the builder's arena: nothing is freed alone, so a pass may drop what it likes.
 */
#ifndef GRAPH_GRAPH_H
#define GRAPH_GRAPH_H

#include "base/dtype.h"
#include "ingot/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef ingot_shape shape;
typedef ingot_value value;
typedef ingot_build build;
typedef struct node node;
typedef struct op_def op_def;
typedef struct kernel_def kernel_def;

/* How elements lie in their storage: element (i, j, ..) is at offset + i*stride[0] + j*stride[1] + .. elements. */
typedef struct layout {
    int64_t offset;
    int64_t stride[INGOT_MAX_RANK];
} layout;

struct ingot_value {
    int id;
    ingot_dtype dtype;
    ingot_shape shape;
    struct node *node; /* that makes it */
    int output;        /* which of the node's outputs */
    const char *name;  /* of inputs, states and outputs; else NULL */
    /* From the layout pass on: */
    struct layout layout;
    value *storage; /* whose memory this value lies in: itself, unless it is a view or written in place */
};

#define NODE_MAX_OUTPUTS 8

struct node {
    int id;
    const op_def *op;
    void *attrs; /* op->attrs_bytes of it */
    value **in;  /* NULL where an optional input is not given */
    int inputs;
    value *out[NODE_MAX_OUTPUTS]; /* NULL where an optional output is not live */
    const char *scope;            /* "layers.3.mlp": for dumps, profiles and messages */
    node *before, *after;         /* the list */
    bool backward;                /* made by autodiff */
    bool recomputed;              /* a copy made by the recompute pass: never merged with its original */
    bool hoisted;                 /* runs in the prepare part */
    int segment;                  /* of recomputation, 0 for none */
    const kernel_def *kernel;     /* from the kernel pass on; NULL for sources, views and other nodes without work */
    int mark;                     /* a pass's own */
};

/* A named value at the graph's edge. */
typedef struct port {
    const char *name;
    ingot_value *value;
} port;

typedef struct build_hooks build_hooks; /* nn/nn.h: how layers make parameters and products */

struct ingot_build {
    context *ctx;
    struct arena *arena;
    const char *name;
    ingot_status status; /* the first error; its message is kept in `message` */
    char *message;
    node *first, *last;
    node *cursor;               /* new nodes go before it; NULL: at the end */
    int values, nodes, streams; /* counters for ids */
    ARRAY(port) inputs, uniforms, outputs, states;
    const char *scope;          /* "" outside */
    ARRAY(const char *) scopes; /* the outer ones */
    bool in_backward;
    int segment, segments; /* the recomputation segment that is open, 0 for none; how many there were */
    const build_hooks *hooks;
    ingot_dtype compute; /* what nn's layers compute in: activations, and weights where they are multiplied */
    bool frozen;         /* nothing is trained from this store: matrices lie in it as they are computed with */
};

/* build_fail keeps the first error and returns NULL, so that it can be returned where a value is. */
void *build_fail(build *b, status code, const char *format, ...) INGOT_PRINTF(3, 4);

/* Makes a node of `op` and its outputs that are not optional, after checking inputs and attributes; NULL when the builder
 * has failed. attrs is copied. */
node *node_new(build *b, const op_def *op, value *const *in, int inputs, const void *attrs);
value *node_output(build *b, node *n, int output); /* makes an optional output live */
/* For ops with one output: node_new and its value. */
value *op_apply(build *b, const op_def *op, value *const *in, int inputs, const void *attrs);
#define APPLY(b, op, attrs, ...)                                                                                       \
    op_apply((b), (op), (value *const[]){__VA_ARGS__}, (int)COUNT(((value *const[]){__VA_ARGS__})), (attrs))

void node_remove(build *b, node *n);
/* Of a source: it may be named after the place where it is to be read. */
void node_move_to_front(build *b, node *source);
/* Every use of `old`, as an input or as an output of the graph, becomes a use of `v`. */
void value_replace(build *b, value *old, value *v);
node *value_only_reader(const build *b, const value *v); /* NULL: several read it, or a port gives it out */
int value_uses(const build *b, const value *v); /* inputs that read it, plus 1 for each port that gives it out */
bool value_is_state(const value *v);
bool value_is_updated(const build *b, const value *state); /* whether the graph gives it a new value */
const char *build_scoped(build *b, const char *name);      /* "scope.name", in the arena */

/* Shapes. */
int64_t shape_count(shape s); /* elements; 1 for a scalar */
bool shape_equal(shape a, shape b);
bool shape_broadcast(shape a, shape b, shape *out); /* numpy's rule, aligned at the last dim */
char *shape_print(char out[128], shape s);          /* "(4, 768)" */
int64_t value_bytes(const value *v);                /* contiguous size */
int64_t axis_of(int64_t axis, int64_t rank);        /* -1 is the last; -1 back when out of range */

/* Layouts. */
layout layout_contiguous(shape s);
bool layout_is_contiguous(shape s, const layout *l);   /* dims of 1 may have any stride */
bool layout_last_contiguous(shape s, const layout *l); /* elements of the last dim lie side by side */

/* verify.c: the rules that hold after every pass; the message names the pass and the node. */
status graph_verify(const build *b, const char *after_pass);
/* print.c */
void graph_print(const build *b, text *out);
void node_print(const node *n, text *out);
void node_print_attrs(const node *n, text *out); /* ", eps=1e-05" */
/* print_dot.c */
void graph_print_dot(const build *b, bool launches, text *out); /* for Graphviz; launches: only what has a kernel */

#ifdef __cplusplus
}
#endif

#endif
