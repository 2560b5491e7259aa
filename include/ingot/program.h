/* Devices, stores of state, and compiled programs.
 *
 *     ingot_device *cpu;
 *     if (ingot_device_open(ctx, "cpu", NULL, &cpu)) return puts(ingot_message(ctx));
 *     ingot_program *p;
 *     if (ingot_compile(b, cpu, NULL, &p)) return puts(ingot_message(ctx));
 *     ingot_write(p, "x", x, sizeof x);
 *     ingot_run(p, NULL);
 *     ingot_read(p, "length", length, sizeof length);
 *     ingot_program_free(p); ingot_device_close(cpu);
 *
 * A program belongs to one thread at a time; several threads may run different programs on one device. Errors of a
 * device stick to it: each later call returns the first one, with the kernel's name, until it is closed.
 */
#ifndef INGOT_PROGRAM_H
#define INGOT_PROGRAM_H

#include "ingot/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ingot_device ingot_device;
typedef struct ingot_store ingot_store;
typedef struct ingot_program ingot_program;

typedef struct ingot_device_options {
    const char
        *level; /* cpu: naive | parallel | tiled | tiled-parallel | simd | blas | best (NULL) | avx512-bf16 | amx */
    int poison; /* debug: memory starts as NaN, with guards that are checked after every kernel */
    const char *tuning; /* file of choices that `ingot devices --tune` measured here, used under best; NULL: none */
    int row_invariant;  /* only kernels whose order of summation does not depend on the number of rows */
    const char *prefer; /* kernels by name, "attention.mma,matmul.rows": used where they fit, before any other choice */
    int tf32;           /* float32 products may round what they multiply to 10 bits; a device without them refuses */
    int no_overlap;     /* kernels begin when those before them have ended; without it, where the device can, earlier */
    int step_by_step;   /* each kernel is waited for, so that an error names the one that made it; slow */
    int64_t most_bytes; /* the device hands out no more memory than this; 0: what it has */
    int persistent; /* runs of at least so many small steps stay on the GPU as one launch; 0: as the device likes, < 0: never */
    const char *cache; /* folder where kernels that are compiled at run time are kept; NULL: they are not */
} ingot_device_options;

/* name: "cpu", "ref" (float64 oracle), "null" (runs nothing), "auto" (the fastest that is there; said in the log). */
INGOT_API ingot_status ingot_device_open(ingot_context *ctx, const char *name, const ingot_device_options *options,
                                         ingot_device **out);
INGOT_API void ingot_device_close(ingot_device *d); /* after its programs and stores */
INGOT_API const char *ingot_device_name(const ingot_device *d);

/* Where state lives: programs compiled with one store share its states by name, and one arena for activations. */
INGOT_API ingot_status ingot_store_new(ingot_device *d, ingot_store **out);
INGOT_API void ingot_store_free(ingot_store *s);
/* Whole states from and to host memory, in the dtype that the graph gave them; `bytes` must be exact. */
INGOT_API ingot_status ingot_store_write(ingot_store *s, const char *name, const void *data, int64_t bytes);
INGOT_API ingot_status ingot_store_read(ingot_store *s, const char *name, void *data, int64_t bytes);

typedef struct ingot_compile_options {
    ingot_store *store; /* NULL: a private one */
    int recompute;      /* honour ingot_recompute_begin / _end */
    const char *dump;   /* "graph", "plan", "kernels": printed to the log after compiling */
} ingot_compile_options;

/* Takes the builder: it is freed with the program, or at once on failure. */
INGOT_API ingot_status ingot_compile(ingot_build *b, ingot_device *d, const ingot_compile_options *options,
                                     ingot_program **out);
INGOT_API void ingot_program_free(ingot_program *p);

typedef union ingot_scalar {
    double f;  /* of float uniforms */
    int64_t i; /* of integer uniforms */
} ingot_scalar;

INGOT_API ingot_status ingot_write(ingot_program *p, const char *input, const void *data, int64_t bytes);
/* One submission; returns when it is submitted (on the cpu: done). `uniforms` in the order of declaration. */
INGOT_API ingot_status ingot_run(ingot_program *p, const ingot_scalar *uniforms);
/* Waits for the runs before it. */
INGOT_API ingot_status ingot_read(ingot_program *p, const char *output, void *data, int64_t bytes);

/* What the program takes, known without running it. */
typedef struct ingot_program_info {
    int64_t steps;             /* kernels launched by one run */
    int64_t arena_bytes;       /* activations and workspace at the peak */
    int64_t lower_bound_bytes; /* what the largest set of values alive at once takes: no plan can need less */
    int64_t state_bytes;       /* states this program uses */
    int64_t own_bytes;         /* inputs, outputs, derived values */
    double flops, bytes;       /* of one run, by the ops' cost functions */
} ingot_program_info;
INGOT_API ingot_program_info ingot_program_describe(const ingot_program *p);
/* `what`: "graph", "plan" or "kernels"; `format`: "text"; "dot" of graph and kernels; "svg" of a plan. malloc'ed text, NULL when memory is out. */
INGOT_API char *ingot_program_dump(const ingot_program *p, const char *what, const char *format);

#ifdef __cplusplus
}
#endif
#endif
