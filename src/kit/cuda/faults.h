/* Which of the kernels that others wrote was running when the GPU stopped: a mark in the host's memory is set before such a
 * kernel and taken back behind it, on its stream, so that a fault leaves it standing. In a graph of hundreds of kernels
 * nothing else tells which one it was.
 */
#ifndef KIT_CUDA_FAULTS_H
#define KIT_CUDA_FAULTS_H

#include "kit/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct faults faults;
faults *faults_new(void); /* NULL: no memory */
void faults_free(faults *f);
/* The mark of a name; NULL when there are too many. */
int *faults_mark(faults *f, const char *name);
void faults_begin(int *mark, cudaStream_t stream); /* NULL: nothing happens */
void faults_end(int *mark, cudaStream_t stream);
/* The name whose mark stands, or NULL. */
const char *faults_running(const faults *f);

#ifdef __cplusplus
}
#endif
#endif
