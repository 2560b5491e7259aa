/* What CPU kernels share: the machine they run on, the queue they are launched with, and how a file that is compiled once
 * per instruction set names its things.
 *
 *     static void rows(const step *s, int64_t first, int64_t last, int worker) { ... }
 *     static status launch(const step *s, queue *q) { return cpu_for(s, q, rows_of(s), 16, rows); }
 *     const kernel_def ISA_NAME(rms_norm_cpu)[] = {{.op = &op_rms_norm_def, .name = "rms_norm.simd", ...}, {0}};
 *
 * Files named *_cpu.c are compiled for each instruction set of cmake/cpu_kernels.cmake with INGOT_ISA set; other files of
 * the tree once, those named *_avx512bf16.c and *_amx.c for the instructions in their name; such a kernel's match asks the caps.
 * device/cpu/kernels.def lists the arrays. The compiler vectorises a sum over floats only where it is told:
 *
 *     float sum = 0;
 *     #pragma omp simd reduction(+ : sum)
 *     for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
 */
#ifndef KIT_CPU_CPU_H
#define KIT_CPU_CPU_H

#include "base/threads.h"
#include "graph/kernel.h"

typedef enum cpu_isa { CPU_BASELINE, CPU_AVX2, CPU_AVX512 } cpu_isa;

/* The widest instruction set that this build has kernels for and this machine runs. */
cpu_isa cpu_detect_isa(void);
bool cpu_has_avx512_bf16(void);
bool cpu_has_amx(void);     /* tiles of bfloat16 */
bool cpu_ask_for_amx(void); /* whether they are here, and the system lets this process use them from now on */

struct device_caps {
    cpu_isa isa;
    int threads;
    int64_t l1_bytes, l2_bytes, l3_bytes; /* of one core, one core, one package; 0 when unknown */
    bool blas;                            /* a CBLAS is linked */
    bool avx512_bf16;                     /* products of bfloat16 pairs: *_avx512bf16.c */
    bool amx;                             /* tiles of them: *_amx.c */
};

struct queue {
    pool *pool; /* NULL: one thread, as the naive and tiled levels want */
    const device_caps *caps;
};

#define ISA_PASTE_(name, isa) name##_##isa
#define ISA_PASTE(name, isa)  ISA_PASTE_(name, isa)
#define ISA_NAME(name)        ISA_PASTE(name, INGOT_ISA)

/* Float32, or 16 bits where the op does not ask for more (op_input.wide): kernels that read rows with kit/cpu/narrow.h. */
bool cpu_match_narrow(const node *n, const device_caps *caps);

typedef void cpu_rows(const step *s, int64_t first, int64_t last, int worker);

/* Runs `rows` over [0, total) on the queue's threads, in pieces of at least `grain`. */
status cpu_for(const step *s, queue *q, int64_t total, int64_t grain, cpu_rows *rows);
int cpu_threads(const queue *q);

/* Elements of all dims but the last `inner`, and of those: a tensor seen as (rows, columns). */
static inline int64_t tensor_rows(const tensor *t, int64_t inner)
{
    int64_t rows = 1;
    for (int64_t i = 0; i < t->shape.rank - inner; i++) rows *= t->shape.dim[i];
    return rows;
}
static inline int64_t tensor_last(const tensor *t)
{
    return t->shape.rank ? t->shape.dim[t->shape.rank - 1] : 1;
}
/* Elements from the first to the start of row `i`: of tensors that a kernel takes as STORAGE_LAST_CONTIGUOUS. */
static inline int64_t tensor_row(const tensor *t, int64_t i)
{
    int64_t at = 0;
    for (int64_t axis = t->shape.rank - 2; axis >= 0; axis--) {
        at += i % t->shape.dim[axis] * t->stride[axis];
        i /= t->shape.dim[axis];
    }
    return at;
}
static inline float *f32(const tensor *t)
{
    return (float *)t->data;
}
static inline int32_t *i32(const tensor *t)
{
    return (int32_t *)t->data;
}

/* Sums over rows in an order that neither threads nor luck change: the rows are cut into this many chunks, each adds up
 * its own, then cpu_sum_chunks adds the chunks, laid out as (CPU_ROW_CHUNKS, columns). */
#define CPU_ROW_CHUNKS 16
static inline int64_t cpu_chunk_first(int64_t rows, int64_t chunk)
{
    return rows * chunk / CPU_ROW_CHUNKS;
}
void cpu_sum_chunks(queue *q, float *sum, const float *chunks, int64_t columns);

/* Before a loop whose iterations do not depend on each other though its outputs may be its inputs, element by element. */
#ifdef __clang__
#define CPU_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define CPU_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* About how many elements of pointwise work are worth a thread: 4 us of it. */
#define CPU_GRAIN 16384

#endif
