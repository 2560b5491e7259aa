/* Inputs and outputs of turned_attention and its gradient by name. Their attributes are those of attention. */
#ifndef OPS_TURNED_ATTENTION_TURNED_ATTENTION_H
#define OPS_TURNED_ATTENTION_TURNED_ATTENTION_H

#include "ops/attention/attention.h"

enum { TURNED_Q, TURNED_K, TURNED_V, TURNED_POSITION, TURNED_ANGLES, TURNED_INPUTS };
enum { TURNED_O, TURNED_LSE, TURNED_Q_AFTER, TURNED_K_AFTER };
/* Of the gradient, behind those of attention_grad. */
enum { TURNED_GRAD_POSITION = 6, TURNED_GRAD_ANGLES, TURNED_GRAD_INPUTS };

#endif
