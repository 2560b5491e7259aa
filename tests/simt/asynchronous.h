// What instructions ask for and wait for later: copies, barriers in shared memory, products of warp groups.
//
// Where the hardware may be early or late this machine is late: a copy is done when its asker waits for it, and until then there
// is NaN in its place; so who reads too early, or still reads what is written anew, is found. A product that does not add leaves
// NaN in its registers until it is waited for.
#ifndef SIMT_ASYNCHRONOUS_H
#define SIMT_ASYNCHRONOUS_H

#include "simt.h"

#include <cuda.h>

namespace simt
{

// Places in the block's dynamic shared memory.
unsigned shared_offset(const void *p);
void *shared_place(unsigned offset);

// cp.async: groups of each thread. `valid`: else zeros.
void copy_late(void *to, const void *from, bool valid, unsigned size = 16);
void copies_commit();
void copies_wait(int left);

// mbarrier: a word in shared memory.
void barrier_begin(uint64_t *barrier, int arrivals);
void barrier_arrive(uint64_t *barrier, int bytes); // expecting bytes
bool barrier_passed(uint64_t *barrier, unsigned parity);

// The copy engine. Places in a tensor begin with the dim that is contiguous.
struct box_place {
    int64_t at[4];
};
void load_box(void *to, const CUtensorMap *map, uint64_t *barrier, box_place place);
void store_box(const CUtensorMap *map, const void *from, box_place place);
void load_bytes(void *to, const void *from, int bytes, uint64_t *barrier);
void store_bytes(void *to, const void *from, int bytes);
void add_bytes(float *to, const float *from, int bytes);
void stores_commit();
void stores_wait();

// Before a load that may be one of a loop: others go on when this thread looks at the same place twice.
void look_again(const void *at);

// A kernel does what it may not: says so and ends.
[[noreturn]] void misuse(const char *what);

} // namespace simt

#endif
