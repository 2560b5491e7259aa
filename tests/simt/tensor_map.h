// What the copy engine knows of a tensor in global memory, and boxes of it in shared memory.
#ifndef SIMT_TENSOR_MAP_H
#define SIMT_TENSOR_MAP_H

#include "asynchronous.h"

namespace simt
{

// Lies in the 128 bytes that a CUtensorMap is. Dims begin with the contiguous one.
struct tensor_map {
    uint32_t mark;
    uint32_t element; // bytes
    char *at;
    uint64_t size[4], stride[4]; // strides in bytes
    uint32_t box[4];
    uint32_t span; // of the swizzle, bytes; 0: none
};

tensor_map map_of(const CUtensorMap *map);
unsigned box_bytes(const tensor_map &m);

// What lies beyond the tensor is read as zeros and not written.
void read_box(const tensor_map &m, void *to, const box_place &place);
void write_box(const tensor_map &m, const void *from, const box_place &place);

// Where 16 bytes of a row of `span` bytes are put: places are exclusive-or'd with which row of eight it is.
inline uintptr_t swizzled(uintptr_t at, unsigned span)
{
    return span ? at ^ (at >> 7 & (span / 16 - 1)) << 4 : at;
}

} // namespace simt

// In place of the driver's cuTensorMapEncodeTiled.
extern "C" CUresult simt_encode_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *at,
                                      const cuuint64_t *sizes, const cuuint64_t *strides, const cuuint32_t *box,
                                      const cuuint32_t *steps, CUtensorMapInterleave interleave,
                                      CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                      CUtensorMapFloatOOBfill fill);

#endif
