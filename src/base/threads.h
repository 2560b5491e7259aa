/* A small pool of threads for kernels and for text: fixed size, spin-then-park, pinned where it has all processors of the process.
 *
 *     static void square(void *arg, int64_t first, int64_t last, int worker) { ... }
 *     pool_for(pool, n, 1024, square, &numbers);
 *
 * One loop runs at a time: callers from other threads wait for it. A loop that is started from inside a task runs in
 * that task's thread. How the range is cut depends only on total, grain and the pool's size, so a kernel whose sums
 * follow the cut gives the same bits each time.
 */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

#include "base/base.h"

typedef struct pool pool;
typedef void pool_task(void *arg, int64_t first, int64_t last, int worker); /* worker: 0 .. pool_size - 1 */

pool *pool_new(int threads); /* NULL when threads cannot be started */
void pool_free(pool *p);
int pool_size(const pool *p);
int threads_default(void); /* physical cores within affinity and cgroup */

/* Runs task over [0, total) cut into pieces of at least `grain`; returns when all is done. */
void pool_for(pool *p, int64_t total, int64_t grain, pool_task *task, void *arg);

#endif
