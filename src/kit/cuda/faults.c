#include "kit/cuda/faults.h"

#include <pthread.h>
#include <stdio.h>

enum { MOST_MARKS = 64, NAME_BYTES = 64 };

struct faults {
    pthread_mutex_t lock;
    int count;
    char names[MOST_MARKS][NAME_BYTES];
    int *marks; /* page-locked, so that it outlives the GPU's context */
};

faults *faults_new(void)
{
    faults *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    if (cudaHostAlloc((void **)&f->marks, MOST_MARKS * sizeof(int), cudaHostAllocDefault)) {
        (void)cudaGetLastError();
        free(f);
        return NULL;
    }
    memset(f->marks, 0, MOST_MARKS * sizeof(int));
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void faults_free(faults *f)
{
    if (!f) return;
    cudaFreeHost(f->marks);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

int *faults_mark(faults *f, const char *name)
{
    pthread_mutex_lock(&f->lock);
    int at = 0;
    while (at < f->count && strncmp(f->names[at], name, NAME_BYTES - 1)) at++;
    if (at == f->count && at < MOST_MARKS) {
        snprintf(f->names[at], NAME_BYTES, "%s", name);
        f->count++;
    }
    pthread_mutex_unlock(&f->lock);
    return at < MOST_MARKS ? &f->marks[at] : NULL;
}

void faults_begin(int *mark, cudaStream_t stream)
{
    if (mark) (void)cudaMemsetAsync(mark, 1, sizeof *mark, stream);
}

void faults_end(int *mark, cudaStream_t stream)
{
    if (mark) (void)cudaMemsetAsync(mark, 0, sizeof *mark, stream);
}

const char *faults_running(const faults *f)
{
    for (int i = 0; i < f->count; i++)
        if (*(volatile const int *)&f->marks[i]) return f->names[i];
    return NULL;
}
