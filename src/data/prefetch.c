/* One thread that fills batches ahead of their use; see ingot/data.h. Two queues under one lock. */
#include "data/batches.h"

#include <pthread.h>
#include <stdio.h>

struct ingot_prefetch {
    context *ctx;
    ingot_batches *source;
    int count;           /* batches given at the start */
    ingot_batch **empty; /* a ring of each, of `count` places */
    ingot_batch **filled;
    int first_empty, empties, first_filled, fills, held; /* held: taken and not yet given back */
    bool stopping, finished;
    status failure; /* of the thread; handed on once what was filled before is taken */
    char message[512];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
};

static void push(ingot_batch **ring, int capacity, int first, int *count, ingot_batch *batch)
{
    ring[(first + *count) % capacity] = batch;
    ++*count;
}

static ingot_batch *pop(ingot_batch **ring, int capacity, int *first, int *count)
{
    ingot_batch *batch = ring[*first];
    *first = (*first + 1) % capacity;
    --*count;
    return batch;
}

static void *fill_batches(void *arg)
{
    ingot_prefetch *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->stopping && !p->finished) {
        if (!p->empties) {
            pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        ingot_batch *batch = pop(p->empty, p->count, &p->first_empty, &p->empties);
        pthread_mutex_unlock(&p->lock);
        status s = ingot_batches_next(p->source, batch);
        pthread_mutex_lock(&p->lock);
        if (s) {
            p->failure = s;
            snprintf(p->message, sizeof p->message, "%s", ingot_message(p->ctx));
            push(p->empty, p->count, p->first_empty, &p->empties, batch);
        } else {
            push(p->filled, p->count, p->first_filled, &p->fills, batch);
        }
        p->finished = s || !batch->target_count;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void release(ingot_prefetch *p)
{
    free(p->empty);
    free(p->filled);
    free(p);
}

ingot_status ingot_prefetch_start(ingot_batches *b, ingot_batch *const *batches, int count, ingot_prefetch **out)
{
    *out = NULL;
    context *ctx = batches_context(b);
    if (count < 1) return ingot_fail(ctx, INGOT_ERROR_ARGUMENT, "prefetch needs at least one batch to fill");
    ingot_prefetch *p = calloc(1, sizeof *p);
    if (!p) return fail_memory(ctx, "prefetch", sizeof *p);
    *p = (ingot_prefetch){.ctx = ctx, .source = b, .count = count, .empties = count};
    p->empty = calloc((size_t)count, sizeof *p->empty);
    p->filled = calloc((size_t)count, sizeof *p->filled);
    if (!p->empty || !p->filled) {
        release(p);
        return fail_memory(ctx, "prefetch", (uint64_t)count * sizeof *p->empty);
    }
    memcpy(p->empty, batches, (size_t)count * sizeof *p->empty);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    if (pthread_create(&p->thread, NULL, fill_batches, p)) {
        pthread_mutex_destroy(&p->lock);
        pthread_cond_destroy(&p->changed);
        release(p);
        return fail_memory(ctx, "a thread", 0);
    }
    *out = p;
    return INGOT_OK;
}

ingot_status ingot_prefetch_take(ingot_prefetch *p, ingot_batch **batch)
{
    *batch = NULL;
    pthread_mutex_lock(&p->lock);
    while (!p->fills && !p->finished && p->held < p->count) pthread_cond_wait(&p->changed, &p->lock);
    status failure = p->failure;
    bool filled = p->fills > 0, finished = p->finished;
    if (filled) {
        *batch = pop(p->filled, p->count, &p->first_filled, &p->fills);
        p->held++;
    }
    pthread_mutex_unlock(&p->lock);
    if (filled) return INGOT_OK;
    if (failure) return ingot_fail(p->ctx, failure, "%s", p->message); /* written before `finished`, never again */
    return ingot_fail(p->ctx, INGOT_ERROR_ARGUMENT,
                      finished ? "there are no more batches" : "all batches are taken: give one back first");
}

void ingot_prefetch_give(ingot_prefetch *p, ingot_batch *batch)
{
    pthread_mutex_lock(&p->lock);
    push(p->empty, p->count, p->first_empty, &p->empties, batch);
    p->held--;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void ingot_prefetch_stop(ingot_prefetch *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    release(p);
}
