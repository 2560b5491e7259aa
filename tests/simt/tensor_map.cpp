#include "tensor_map.h"

#include <cstring>

namespace simt
{

namespace
{

enum : uint32_t { MARK = 0x74656e73 };

uint32_t bytes_of(CUtensorMapDataType type)
{
    switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8: return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16: return 2;
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32: return 4;
    default: return 0;
    }
}

uint32_t span_of(CUtensorMapSwizzle swizzle)
{
    return swizzle == CU_TENSOR_MAP_SWIZZLE_128B  ? 128
           : swizzle == CU_TENSOR_MAP_SWIZZLE_64B ? 64
           : swizzle == CU_TENSOR_MAP_SWIZZLE_32B ? 32
                                                  : 0;
}

// What the driver asks of a map.
bool fits(const tensor_map &m)
{
    uint64_t row = (uint64_t)m.box[0] * m.element;
    bool fit = m.element && (uintptr_t)m.at % 16 == 0 && row % 16 == 0 && (!m.span || row == m.span);
    for (int i = 0; i < 4; i++) {
        fit &= m.size[i] >= 1 && m.size[i] <= (uint64_t)1 << 32 && m.box[i] >= 1 && m.box[i] <= 256;
        if (i) fit &= m.stride[i] % 16 == 0 && m.stride[i] < (uint64_t)1 << 40;
    }
    return fit;
}

// Each element of a box: where it lies in it, and where in the tensor, or null where it is none.
template <typename ACT> void each_element(const tensor_map &m, const void *box, const box_place &place, ACT act)
{
    int64_t rows = (int64_t)m.box[1] * m.box[2] * m.box[3];
    auto to = (uintptr_t)box;
    for (int64_t row = 0; row < rows; row++) {
        int64_t rest = row, offset = 0;
        bool inside = true;
        for (int k = 1; k < 4; rest /= m.box[k], k++) {
            int64_t i = place.at[k] + rest % m.box[k];
            inside &= i >= 0 && i < (int64_t)m.size[k];
            offset += i * (int64_t)m.stride[k];
        }
        for (int64_t x = place.at[0]; x < place.at[0] + m.box[0]; x++, to += m.element) {
            bool there = inside && x >= 0 && x < (int64_t)m.size[0];
            act((void *)swizzled(to, m.span), there ? m.at + offset + x * (int64_t)m.element : nullptr);
        }
    }
}

} // namespace

tensor_map map_of(const CUtensorMap *map)
{
    tensor_map m;
    memcpy(&m, map, sizeof m);
    if (m.mark != MARK) misuse("a tensor map that nobody has made");
    return m;
}

unsigned box_bytes(const tensor_map &m)
{
    return m.box[0] * m.box[1] * m.box[2] * m.box[3] * m.element;
}

void read_box(const tensor_map &m, void *to, const box_place &place)
{
    each_element(m, to, place, [&](void *in_box, const char *in_tensor) {
        if (in_tensor)
            memcpy(in_box, in_tensor, m.element);
        else
            memset(in_box, 0, m.element);
    });
}

void write_box(const tensor_map &m, const void *from, const box_place &place)
{
    each_element(m, from, place, [&](const void *in_box, char *in_tensor) {
        if (in_tensor) memcpy(in_tensor, in_box, m.element);
    });
}

} // namespace simt

CUresult simt_encode_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *at,
                           const cuuint64_t *sizes, const cuuint64_t *strides, const cuuint32_t *box,
                           const cuuint32_t *steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                           CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill)
{
    using namespace simt;
    if (rank != 4 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE ||
        swizzle > CU_TENSOR_MAP_SWIZZLE_128B)
        return CUDA_ERROR_NOT_SUPPORTED; // here, and used nowhere
    tensor_map m = {MARK, bytes_of(type), (char *)at, {}, {}, {}, span_of(swizzle)};
    for (int i = 0; i < 4; i++) {
        m.size[i] = sizes[i], m.box[i] = box[i];
        m.stride[i] = i ? strides[i - 1] : m.element;
        if (steps[i] != 1) return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (!fits(m) || (uintptr_t)map % 64) return CUDA_ERROR_INVALID_VALUE;
    static_assert(sizeof m <= sizeof *map);
    memcpy(map, &m, sizeof m);
    return CUDA_SUCCESS;
}
