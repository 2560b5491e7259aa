/* How much memory this machine, or the part of it that this process may use, has left. */
#ifndef BASE_SYSTEM_MEMORY_H
#define BASE_SYSTEM_MEMORY_H

#include "base/base.h"

uint64_t memory_available(void); /* UINT64_MAX: unknown */
uint64_t memory_resident(void);  /* of this process, now; 0: unknown */

#endif
