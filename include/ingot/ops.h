/* The ops: what a graph is made of. Each builds one node and returns its value; all are differentiable unless said.
 *
 *     ingot_value *h = ingot_gelu(b, ingot_add(b, ingot_matmul(b, x, w), bias));       // x (N, C), w (C, F), bias (F)
 *
 * Letters: N rows, B sequences, T positions, C channels, H query heads, K key/value heads, D head dim, V vocabulary.
 * Shapes and dtypes are checked here and now; the builder keeps the first error, and NULL in gives NULL out.
 * `axis` may be negative: -1 is the last. Ids outside a table's rows give zeros and take no gradient.
 */
#ifndef INGOT_OPS_H
#define INGOT_OPS_H

#include "ingot/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef ingot_value *ingot_unary(ingot_build *b, ingot_value *x);
typedef ingot_value *ingot_binary(ingot_build *b, ingot_value *x, ingot_value *y);

/* Pointwise; two inputs broadcast as in numpy. Comparisons give 1 or 0 and have no gradient. */
INGOT_API ingot_binary ingot_add, ingot_sub, ingot_mul, ingot_div, ingot_maximum, ingot_minimum;
INGOT_API ingot_binary ingot_less, ingot_less_equal, ingot_equal;
INGOT_API ingot_unary ingot_neg, ingot_abs, ingot_square, ingot_exp, ingot_log, ingot_sqrt, ingot_rsqrt, ingot_sin,
    ingot_cos, ingot_tanh, ingot_sigmoid, ingot_erf, ingot_relu, ingot_silu, ingot_is_finite;
INGOT_API ingot_unary ingot_gelu;     /* tanh form: gelu_new of GPT-2 */
INGOT_API ingot_unary ingot_gelu_erf; /* exact */
INGOT_API ingot_binary ingot_swiglu;  /* silu(gate) * up */
INGOT_API ingot_value *ingot_where(ingot_build *b, ingot_value *condition, ingot_value *x, ingot_value *y);
INGOT_API ingot_value *ingot_add_scalar(ingot_build *b, ingot_value *x, double k);
INGOT_API ingot_value *ingot_mul_scalar(ingot_build *b, ingot_value *x, double k);
INGOT_API ingot_value *ingot_cast(ingot_build *b, ingot_value *x, ingot_dtype to);
/* Any formula of up to 8 inputs named a, b, c, ...: "a * sigmoid(a) * b". One pass over memory. */
INGOT_API ingot_value *ingot_pointwise(ingot_build *b, const char *formula, ingot_value *const *in, int count);

/* Sums and means over one axis; keep: the axis stays with size 1. */
INGOT_API ingot_value *ingot_sum(ingot_build *b, ingot_value *x, int axis, int keep);
INGOT_API ingot_value *ingot_mean(ingot_build *b, ingot_value *x, int axis, int keep);
INGOT_API ingot_value *ingot_max(ingot_build *b, ingot_value *x, int axis, int keep);
INGOT_API ingot_value *ingot_sum_all(ingot_build *b, ingot_value *x); /* scalar */

/* Other looks at the same elements. */
INGOT_API ingot_value *ingot_reshape(ingot_build *b, ingot_value *x, ingot_shape to);    /* one dim may be -1 */
INGOT_API ingot_value *ingot_permute(ingot_build *b, ingot_value *x, ingot_shape order); /* order: a list of axes */
INGOT_API ingot_value *ingot_transpose(ingot_build *b, ingot_value *x);                  /* the last two dims */
INGOT_API ingot_value *ingot_slice(ingot_build *b, ingot_value *x, int axis, int64_t start, int64_t length);
INGOT_API ingot_value *ingot_expand(ingot_build *b, ingot_value *x, ingot_shape to); /* broadcast to */
INGOT_API ingot_value *ingot_concat(ingot_build *b, ingot_value *const *in, int count, int axis);

/* a (..., M, K) x b (..., K, N) -> (..., M, N); leading dims broadcast. */
INGOT_API ingot_value *ingot_matmul(ingot_build *b, ingot_value *x, ingot_value *y);
/* The same with either side transposed in its last two dims, and with an optional addend c of the result's shape. */
INGOT_API ingot_value *ingot_matmul_with(ingot_build *b, ingot_value *x, ingot_value *y, ingot_value *c, int trans_x,
                                         int trans_y);

/* table (V, ...), ids (...) integers -> ids' shape + (...): rows of the table. */
INGOT_API ingot_value *ingot_gather(ingot_build *b, ingot_value *table, ingot_value *ids);
/* base (V, ...) with rows (ids' shape + ...) added at ids; equal ids add up. */
INGOT_API ingot_value *ingot_scatter_add(ingot_build *b, ingot_value *base, ingot_value *ids, ingot_value *rows);
/* base (V, ...) with rows (ids' shape + ...) in place of those at ids; of equal ids the last one stays. No gradient. */
INGOT_API ingot_value *ingot_scatter_rows(ingot_build *b, ingot_value *base, ingot_value *ids, ingot_value *rows);
/* Index of the largest element along the last axis, the first of equal ones: int32. No gradient. */
INGOT_API ingot_value *ingot_argmax(ingot_build *b, ingot_value *x);

/* Random ops: pure functions of rng, int32 (4) = seed's low half, its high half, step, micro-batch; of `stream`, which
 * tells the draws of one step apart; and of the element. The same numbers on every device. */
INGOT_API ingot_value *ingot_random_uniform(ingot_build *b, ingot_value *rng, int64_t stream, ingot_shape shape);
/* x / (1 - p), or 0 with probability p. */
INGOT_API ingot_value *ingot_dropout(ingot_build *b, ingot_value *x, ingot_value *rng, double p, int64_t stream);
/* float32 x as INGOT_BF16 or INGOT_F16, rounded up or down so that the mean over many steps is x. */
INGOT_API ingot_value *ingot_stochastic_round(ingot_build *b, ingot_value *x, ingot_value *rng, ingot_dtype to,
                                              int64_t stream);

/* Over the last axis: x (..., C), w (C), bias (C) or NULL. */
INGOT_API ingot_value *ingot_rms_norm(ingot_build *b, ingot_value *x, ingot_value *w, double eps);
INGOT_API ingot_value *ingot_layer_norm(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *bias, double eps);
INGOT_API ingot_unary ingot_softmax, ingot_log_softmax;

/* x (..., K), w (N, K) as PyTorch stores it, bias (N) or NULL -> x w^T + bias (..., N). */
INGOT_API ingot_value *ingot_linear(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *bias);
/* The same; in_out: w is (K, N), as GPT-2's Conv1D stores it. */
INGOT_API ingot_value *ingot_linear_with(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *bias, int in_out);

/* Frequencies bent for contexts longer than those of training, as in Llama 3.1 ("rope_type": "llama3"). */
typedef struct ingot_rope_scaling {
    double factor, low_freq_factor, high_freq_factor;
    int64_t original_positions;
} ingot_rope_scaling;
/* Cosines and sines of rotary positions 0 .. positions - 1: (positions, dim); made once, before the first run. scaling
 * may be NULL. */
INGOT_API ingot_value *ingot_rope_table(ingot_build *b, int64_t positions, int64_t dim, double theta,
                                        const ingot_rope_scaling *scaling);
/* x (..., H, D) turned by its rows' positions, int32 (...). Pairs are (i, i + D/2) as in Hugging Face's files, or
 * neighbours when interleaved. A position that is not in the table gives zeros. */
INGOT_API ingot_value *ingot_rope(ingot_build *b, ingot_value *x, ingot_value *positions, ingot_value *table,
                                  int interleaved);
/* Images are NHWC: x (N, H, W, C). */
typedef struct ingot_window {
    int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
} ingot_window;
static inline ingot_window ingot_window_of(int64_t kernel, int64_t stride, int64_t padding)
{
    ingot_window w = {kernel, kernel, stride, stride, padding, padding};
    return w;
}
/* x (N, H, W, C), w (O, KH, KW, C), bias (O) or NULL -> (N, OH, OW, O), OH = (H + 2 padding - KH) / stride + 1. */
INGOT_API ingot_value *ingot_conv2d(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *bias, int stride,
                                    int padding);
/* x (N, H, W, C) -> (N, OH, OW, C); avg_pool2d counts what lies outside as zeros. */
INGOT_API ingot_value *ingot_max_pool2d(ingot_build *b, ingot_value *x, const ingot_window *window);
INGOT_API ingot_value *ingot_avg_pool2d(ingot_build *b, ingot_value *x, const ingot_window *window);
/* All windows of x, (N, OH, OW, KH, KW, C), and the transpose of that: windows added up to an image (N, H, W, C). */
INGOT_API ingot_value *ingot_windows(ingot_build *b, ingot_value *x, const ingot_window *window, double pad_value);
INGOT_API ingot_value *ingot_windows_add(ingot_build *b, ingot_value *y, const ingot_window *window, int64_t height,
                                         int64_t width);
INGOT_API ingot_value *ingot_flatten(ingot_build *b, ingot_value *x); /* (N, ...) -> (N, rest) */

/* x w^T + scale (x down^T) up^T: x (..., K), w (N, K), down (r, K), up (N, r), as in PEFT's files -> (..., N). */
INGOT_API ingot_value *ingot_lora_linear(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *down,
                                         ingot_value *up, double scale);

/* Optimizers: one update of a flat group. No gradient. lr, scale (multiplies g), apply (0: nothing changes) are scalars
 * of w's dtype, step an integer or float scalar, 1 in the first step. out: the new w, m, v; the new w and buffer. */
typedef struct ingot_adamw_options {
    double beta1, beta2, eps, weight_decay;
    int decoupled;    /* 1: AdamW takes the decay from the weight. 0: Adam adds weight_decay w to the gradient */
    ingot_dtype copy; /* INGOT_BF16 or INGOT_F16: out[3] is the new w in it, written along; 0: none */
} ingot_adamw_options;
INGOT_API void ingot_adamw(ingot_build *b, ingot_value *w, ingot_value *g, ingot_value *m, ingot_value *v,
                           ingot_value *lr, ingot_value *scale, ingot_value *step, ingot_value *apply,
                           const ingot_adamw_options *options, ingot_value **out);
typedef struct ingot_sgd_options {
    double momentum, weight_decay;
    int nesterov;
} ingot_sgd_options;
/* buffer: NULL without momentum; starts at 0. */
INGOT_API void ingot_sgd(ingot_build *b, ingot_value *w, ingot_value *g, ingot_value *buffer, ingot_value *lr,
                         ingot_value *scale, ingot_value *apply, const ingot_sgd_options *options, ingot_value *out[2]);
/* Sum of the squares of all elements: a scalar. */
INGOT_API ingot_value *ingot_sum_squares(ingot_build *b, ingot_value *x);

/* q (B, T, H, D), k and v (B, T, K, D), H a multiple of K -> (B, T, H, D). segment_start: NULL, or int32 (B, T), the first
 * token of each token's segment, for packed sequences. No T x T tensor is kept. */
INGOT_API ingot_value *ingot_attention(ingot_build *b, ingot_value *q, ingot_value *k, ingot_value *v,
                                       ingot_value *segment_start, double scale, int causal);
/* Rows of any sequences over a pool of pages: q (N, H, D), k_pool and v_pool (pages * page_size, K, D), block_table int32
 * (S, pages a sequence), row_sequence and row_position int32 (N) -> (N, H, D). A row sees keys 0 .. its position; position
 * -1 gives zeros. No gradient. */
INGOT_API ingot_value *ingot_attention_rows(ingot_build *b, ingot_value *q, ingot_value *k_pool, ingot_value *v_pool,
                                            ingot_value *block_table, ingot_value *row_sequence,
                                            ingot_value *row_position, int64_t page_size, double scale);

/* logits (N, V), targets int32 (N) -> losses (N) in nats; a target outside [0, V), such as -1, masks its row: loss 0. */
INGOT_API ingot_value *ingot_cross_entropy(ingot_build *b, ingot_value *logits, ingot_value *targets);
/* The same of logits x w^T, x (N, C), w (V, C), of which only a chunk of rows is ever in memory, forward and backward. */
INGOT_API ingot_value *ingot_linear_cross_entropy(ingot_build *b, ingot_value *x, ingot_value *w, ingot_value *targets);

#ifdef __cplusplus
}
#endif
#endif
