/* Inputs and outputs of cached_attention by name. Its attributes are those of attention_rows. */
#ifndef OPS_CACHED_ATTENTION_CACHED_ATTENTION_H
#define OPS_CACHED_ATTENTION_CACHED_ATTENTION_H

#include "ops/attention_rows/attention_rows.h"

enum {
    CACHED_Q,
    CACHED_K,
    CACHED_V,
    CACHED_K_POOL,
    CACHED_V_POOL,
    CACHED_SLOT,
    CACHED_BLOCK_TABLE,
    CACHED_SEQUENCE,
    CACHED_POSITION,
    CACHED_ANGLES,
    CACHED_INPUTS
};
enum { CACHED_O, CACHED_K_AFTER, CACHED_V_AFTER };

#endif
