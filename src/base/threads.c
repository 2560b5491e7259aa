/* The pool: size - 1 threads that spin a little, then park; the caller is worker 0. */
#define _GNU_SOURCE
#include "base/threads.h"

#include <hwloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ volatile("yield")
#else
#define RELAX() ((void)0)
#endif

#define SPINS             2000 /* about 50 us: shorter than the gap between a step's loops, longer than a wake-up */
#define TAKERS_MASK       0xffffULL
#define PIECES_PER_WORKER 4 /* so that one slow core does not hold up the rest */

typedef struct pool_worker {
    pool *pool;
    pthread_t thread;
    pthread_cond_t wake; /* with pool.parking */
    atomic_bool asleep;
    int index;
} pool_worker;

struct pool {
    int size;
    pool_worker *workers;
    pthread_mutex_t one_loop; /* held by the caller whose loop runs */
    pthread_mutex_t parking;
    pthread_key_t inside; /* set in a thread that is in a task, so that a loop within a loop runs in place */
    /* The loop that runs: a number that grows, and in its last bits how many take part. One word, so that a worker that
     * wakes late and has no part never mixes two loops. Only who takes part is waited for, and only they may look at
     * the fields below. */
    atomic_ullong loop;
    int spins;
    atomic_int unfinished;
    atomic_bool quit;
    atomic_llong next; /* the next piece to take */
    int64_t total, piece, pieces;
    pool_task *task;
    void *arg;
};

static void take_pieces(pool *p, int worker)
{
    pthread_setspecific(p->inside, &p->workers[worker]);
    for (;;) {
        int64_t piece = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (piece >= p->pieces) break;
        int64_t first = piece * p->piece;
        p->task(p->arg, first, MIN(first + p->piece, p->total), worker);
    }
    pthread_setspecific(p->inside, NULL);
}

static unsigned long long loop_word(const pool_worker *w)
{
    return atomic_load(&w->pool->loop);
}

/* The next loop's word into *seen; false when the pool ends. */
static bool wait_for_work(pool_worker *w, unsigned long long *seen)
{
    pool *p = w->pool;
    for (int spin = 0; spin < p->spins && loop_word(w) == *seen && !atomic_load(&p->quit); spin++) RELAX();
    if (loop_word(w) == *seen && !atomic_load(&p->quit)) {
        pthread_mutex_lock(&p->parking);
        atomic_exchange(&w->asleep, true); /* see wake_workers */
        while (loop_word(w) == *seen && !atomic_load(&p->quit)) pthread_cond_wait(&w->wake, &p->parking);
        atomic_store(&w->asleep, false);
        pthread_mutex_unlock(&p->parking);
    }
    *seen = loop_word(w);
    return !atomic_load(&p->quit);
}

static void *worker_main(void *arg)
{
    pool_worker *w = arg;
    unsigned long long seen = 0;
    while (wait_for_work(w, &seen)) {
        if (w->index >= (int)(seen & TAKERS_MASK)) continue;
        take_pieces(w->pool, w->index);
        atomic_fetch_sub_explicit(&w->pool->unfinished, 1, memory_order_release);
    }
    return NULL;
}

/* Wakes those of the first `count` workers that sleep. None is missed: a worker says that it sleeps and then looks for
 * work, the caller writes the work and then looks for sleepers, and each writes by an exchange, which no later load may
 * overtake. A plain store would do by the C standard, but qemu 7.2 lets the load overtake it when it emulates Arm. */
static void wake_workers(pool *p, int count)
{
    for (int i = 1; i < count; i++) {
        if (!atomic_load(&p->workers[i].asleep)) continue;
        pthread_mutex_lock(&p->parking);
        pthread_cond_signal(&p->workers[i].wake);
        pthread_mutex_unlock(&p->parking);
    }
}

/* Those that this process may run on. */
static int processors(void)
{
#if defined(__linux__)
    cpu_set_t allowed;
    if (!sched_getaffinity(0, sizeof allowed, &allowed)) return CPU_COUNT(&allowed);
#endif
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* A worker for each processor that this process may use: worker i stays on the i-th, and the caller has the first for
 * itself. Left to itself the kernel may keep two of them on one processor, where each loop then waits for a time slice
 * (100 us a loop on a virtual machine with two). With fewer workers than processors nothing is pinned: another process
 * would pin its own to the same ones. */
static void pin_workers(pool *p)
{
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) || CPU_COUNT(&allowed) != p->size) return;
    for (int i = 0, cpu = 0; i < p->size && cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (i) pthread_setaffinity_np(p->workers[i].thread, sizeof one, &one); /* refused: as before */
        i++;
    }
#else
    (void)p;
#endif
}

pool *pool_new(int threads)
{
    pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    threads = MIN(threads, (int)TAKERS_MASK);
    if (pthread_key_create(&p->inside, NULL)) {
        free(p);
        return NULL;
    }
    pthread_mutex_init(&p->one_loop, NULL);
    pthread_mutex_init(&p->parking, NULL);
    p->size = 1;
    p->spins = threads <= processors() ? SPINS : 0; /* who spins there keeps others from working */
    p->workers = calloc((size_t)MAX(threads, 1), sizeof *p->workers);
    if (!p->workers) {
        pool_free(p);
        return NULL;
    }
    p->workers[0].pool = p;
    for (int i = 1; i < threads; i++) {
        p->workers[i] = (pool_worker){.pool = p, .index = i};
        pthread_cond_init(&p->workers[i].wake, NULL);
        if (pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i])) {
            pool_free(p);
            return NULL;
        }
        p->size = i + 1;
    }
    pin_workers(p);
    return p;
}

void pool_free(pool *p)
{
    if (!p) return;
    atomic_exchange(&p->quit, true);
    wake_workers(p, p->size);
    for (int i = 1; i < p->size; i++) {
        pthread_join(p->workers[i].thread, NULL);
        pthread_cond_destroy(&p->workers[i].wake);
    }
    pthread_mutex_destroy(&p->one_loop);
    pthread_mutex_destroy(&p->parking);
    pthread_key_delete(p->inside);
    free(p->workers);
    free(p);
}

int pool_size(const pool *p)
{
    return p->size;
}

void pool_for(pool *p, int64_t total, int64_t grain, pool_task *task, void *arg)
{
    if (total <= 0) return;
    grain = MAX(grain, 1);
    const pool_worker *inside = pthread_getspecific(p->inside);
    if (inside || p->size == 1 || total <= grain) {
        task(arg, 0, total, inside ? inside->index : 0); /* its own index: scratch is kept by worker */
        return;
    }
    pthread_mutex_lock(&p->one_loop);
    int64_t most = (int64_t)p->size * PIECES_PER_WORKER;
    p->piece = MAX(grain, (total + most - 1) / most);
    p->pieces = (total + p->piece - 1) / p->piece;
    p->total = total;
    p->task = task;
    p->arg = arg;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    int takers = (int)MIN(p->size, p->pieces);
    atomic_store_explicit(&p->unfinished, takers - 1, memory_order_relaxed);
    unsigned long long number = (atomic_load_explicit(&p->loop, memory_order_relaxed) | TAKERS_MASK) + 1;
    atomic_exchange(&p->loop, number | (unsigned)takers); /* see wake_workers */
    wake_workers(p, takers);
    take_pieces(p, 0);
    for (int spin = 0; atomic_load_explicit(&p->unfinished, memory_order_acquire); spin++) {
        if (spin < p->spins)
            RELAX();
        else
            sched_yield(); /* more threads than free cores: let the last worker run */
    }
    pthread_mutex_unlock(&p->one_loop);
}

/* CPU time that the cgroup grants, in whole cores; 0 when it sets no limit. */
static int cgroup_cores(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!f) return 0;
    long long quota, period;
    int read = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    return read == 2 && period > 0 ? (int)MAX(1, quota / period) : 0;
}

int threads_default(void)
{
    int cores = 0;
    hwloc_topology_t topology;
    if (!hwloc_topology_init(&topology)) {
        hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
        if (!hwloc_topology_load(topology) && allowed && !hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_PROCESS))
            cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, allowed, HWLOC_OBJ_CORE);
        hwloc_bitmap_free(allowed);
        hwloc_topology_destroy(topology);
    }
    if (cores <= 0) cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int granted = cgroup_cores();
    return MAX(1, granted ? MIN(cores, granted) : cores);
}
