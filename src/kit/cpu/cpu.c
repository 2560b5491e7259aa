/* Loops of CPU kernels. */
#define _GNU_SOURCE /* syscall */
#include "kit/cpu/cpu.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

bool cpu_match_narrow(const node *n, const device_caps *caps)
{
    (void)caps;
    for (int i = 0; i < n->inputs; i++) {
        const value *v = n->in[i];
        if (v && dtype_is_float(v->dtype) && v->dtype != INGOT_F32 &&
            !(dtype_is_narrow(v->dtype) && !n->op->inputs[i].wide))
            return false;
    }
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->out[i] && n->out[i]->dtype == INGOT_F64) return false;
    return true;
}

typedef struct rows_job {
    const step *step;
    cpu_rows *rows;
} rows_job;

static void run_rows(void *arg, int64_t first, int64_t last, int worker)
{
    const rows_job *job = arg;
    job->rows(job->step, first, last, worker);
}

status cpu_for(const step *s, queue *q, int64_t total, int64_t grain, cpu_rows *rows)
{
    rows_job job = {.step = s, .rows = rows};
    if (q->pool)
        pool_for(q->pool, total, grain, run_rows, &job);
    else if (total > 0)
        rows(s, 0, total, 0);
    return INGOT_OK;
}

int cpu_threads(const queue *q)
{
    return q->pool ? pool_size(q->pool) : 1;
}

typedef struct chunks_job {
    float *sum;
    const float *chunks;
    int64_t columns;
} chunks_job;

static void sum_columns(void *arg, int64_t first, int64_t last, int worker)
{
    const chunks_job *job = arg;
    (void)worker;
    for (int64_t j = first; j < last; j++) job->sum[j] = job->chunks[j];
    for (int64_t chunk = 1; chunk < CPU_ROW_CHUNKS; chunk++)
        for (int64_t j = first; j < last; j++) job->sum[j] += job->chunks[chunk * job->columns + j];
}

void cpu_sum_chunks(queue *q, float *sum, const float *chunks, int64_t columns)
{
    chunks_job job = {sum, chunks, columns};
    if (q->pool)
        pool_for(q->pool, columns, CPU_GRAIN / CPU_ROW_CHUNKS, sum_columns, &job);
    else
        sum_columns(&job, 0, columns, 0);
}

bool cpu_has_amx(void)
{
#if defined(__x86_64__) && defined(__linux__)
    enum { BF16 = 1 << 22, TILES = 1 << 24 };
    unsigned a, b, c, d;
    return cpu_has_avx512_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & BF16) && (d & TILES);
#else
    return false;
#endif
}

bool cpu_ask_for_amx(void)
{
#if defined(__x86_64__) && defined(__linux__)
    enum { ASK = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM */
    return cpu_has_amx() && !syscall(SYS_arch_prctl, ASK, TILE_DATA);
#else
    return false;
#endif
}

bool cpu_has_avx512_bf16(void)
{
#if defined(__x86_64__)
    return cpu_detect_isa() == CPU_AVX512 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

cpu_isa cpu_detect_isa(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return CPU_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return CPU_AVX2;
#endif
    return CPU_BASELINE;
}
