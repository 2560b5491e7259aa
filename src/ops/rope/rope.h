#ifndef OPS_ROPE_ROPE_H
#define OPS_ROPE_ROPE_H

#include "graph/kernel.h"
#include "ops/table.h"

typedef struct rope_attrs {
    int64_t interleaved; /* pairs are (0, 1), (2, 3), ..; else (0, R/2), (1, R/2 + 1), .. */
    int64_t inverse;     /* by minus the angle: the gradient */
} rope_attrs;

/* Row n of x: heads of D, of which the first R turn by what row positions[n] of the table says: R/2 cosines, R/2 sines. */
typedef struct rope_shape {
    int64_t rows, heads, dim, turned, positions;
} rope_shape;

static inline rope_shape rope_shape_of(const step *s)
{
    shape x = s->in[0].shape, table = s->in[2].shape;
    return (rope_shape){.rows = shape_count(s->in[1].shape),
                        .heads = x.dim[x.rank - 2],
                        .dim = x.dim[x.rank - 1],
                        .turned = table.dim[1],
                        .positions = table.dim[0]};
}

#endif
