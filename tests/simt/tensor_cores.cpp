#include "tensor_cores.h"

#include "asynchronous.h"
#include "late.h"
#include "tensor_map.h"

#include <cstring>

namespace simt
{

namespace
{

enum : unsigned { ALL = 0xffffffff };

float from_f16(unsigned h)
{
    unsigned sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, bits;
    if (!exponent) {
        float y = (float)mantissa * 0x1p-24f;
        return sign ? -y : y;
    }
    bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

float from_bits(unsigned bits)
{
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

float from_16(unsigned bits, number type)
{
    return type == F16 ? from_f16(bits) : from_bits(bits << 16);
}

// The lower number of a register, and the upper one.
float half_of(uint32_t word, int upper, number type)
{
    return from_16(upper ? word >> 16 : word & 0xffff, type);
}

template <typename T> T &of_lane(void *const *lanes, int i)
{
    if (!lanes[i]) misuse("a whole warp is needed");
    return *static_cast<T *>(lanes[i]);
}

// y (M x N) += a (M x K) b (K x N). Products of two such numbers are exact.
template <int M, int N, int K> void add_product(float (&y)[M][N], const float (&a)[M][K], const float (&b)[K][N])
{
    for (int m = 0; m < M; m++)
        for (int k = 0; k < K; k++)
            for (int n = 0; n < N; n++) y[m][n] += a[m][k] * b[k][n];
}

// ---- ldmatrix, stmatrix ----

struct matrices {
    uint32_t *r;
    void *row;
};

template <bool TRANSPOSED> void load_all(void *const *lanes)
{
    auto lane = [&](int i) { return of_lane<matrices>(lanes, i); };
    for (int i = 0; i < 32; i++)
        for (int m = 0; m < 4; m++) {
            uint16_t two[2];
            for (int k = 0; k < 2; k++) {
                int row = TRANSPOSED ? i % 4 * 2 + k : i / 4, column = TRANSPOSED ? i / 4 : i % 4 * 2 + k;
                two[k] = static_cast<const uint16_t *>(lane(m * 8 + row).row)[column];
            }
            memcpy(&lane(i).r[m], two, sizeof two);
        }
}

void store_all(void *const *lanes)
{
    auto lane = [&](int i) { return of_lane<matrices>(lanes, i); };
    for (int i = 0; i < 32; i++)
        for (int m = 0; m < 4; m++) memcpy(static_cast<uint32_t *>(lane(m * 8 + i / 4).row) + i % 4, &lane(i).r[m], 4);
}

void *checked_row(const void *row)
{
    if ((uintptr_t)row % 16) misuse("a row of a matrix is not at a multiple of 16 bytes");
    return const_cast<void *>(row);
}

// ---- mma ----

struct factors {
    float *d;
    const uint32_t *a;
    uint32_t b[2];
};

// A thread's four results of 16 x 8.
template <bool PUT> void results_of_registers(float (&y)[16][8], void *const *lanes)
{
    for (int i = 0; i < 32; i++)
        for (int c = 0; c < 4; c++) {
            float &mine = of_lane<factors>(lanes, i).d[c], &all = y[i / 4 + c / 2 * 8][i % 4 * 2 + c % 2];
            if (PUT)
                mine = all;
            else
                all = mine;
        }
}

void multiply_tf32(void *const *lanes)
{
    float a[16][8], b[8][8], y[16][8];
    for (int i = 0; i < 32; i++) {
        auto &f = of_lane<const factors>(lanes, i);
        for (int k = 0; k < 4; k++) a[i / 4 + k % 2 * 8][i % 4 + k / 2 * 4] = from_bits(f.a[k] & ~0x1fffu);
        for (int k = 0; k < 2; k++) b[i % 4 + k * 4][i / 4] = from_bits(f.b[k] & ~0x1fffu);
    }
    results_of_registers<false>(y, lanes);
    add_product(y, a, b);
    results_of_registers<true>(y, lanes);
}

// Numbers 2 t, 2 t + 1, and those eight behind, of rows g and g + 8: as a left side lies in registers.
void left_of_registers(float (&a)[16][16], int lane, const uint32_t *r, number type)
{
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++) a[lane / 4 + i % 2 * 8][lane % 4 * 2 + i / 2 * 8 + k] = half_of(r[i], k, type);
}

template <number TYPE> void multiply_16(void *const *lanes)
{
    float a[16][16], b[16][8], y[16][8];
    for (int i = 0; i < 32; i++) {
        auto &f = of_lane<const factors>(lanes, i);
        left_of_registers(a, i, f.a, TYPE);
        for (int h = 0; h < 2; h++)
            for (int k = 0; k < 2; k++) b[i % 4 * 2 + h * 8 + k][i / 4] = half_of(f.b[h], k, TYPE);
    }
    results_of_registers<false>(y, lanes);
    add_product(y, a, b);
    results_of_registers<true>(y, lanes);
}

// ---- wgmma ----

// Number k of a row or column i of a tile in shared memory, as a descriptor says.
struct tile {
    uintptr_t first;
    uint64_t across, down; // from panel to panel; from eight rows to the next eight
    unsigned span;
    bool turned;

    tile(uint64_t d, bool is_turned) : turned(is_turned)
    {
        static const unsigned spans[] = {0, 128, 64, 32};
        first = (uintptr_t)shared_place((unsigned)(d & 0x3fff) << 4);
        across = (d >> 16 & 0x3fff) << 4, down = (d >> 32 & 0x3fff) << 4, span = spans[d >> 62];
        if (!span || (d >> 49 & 7)) misuse("a tile without a swizzle, or with an offset: not done here");
    }
    unsigned at(unsigned i, unsigned k) const
    {
        unsigned row = turned ? k : i, column = (turned ? i : k) * 2;
        uintptr_t p = first + column / span * across + row / 8 * down + row % 8 * span + column % span;
        uint16_t bits;
        memcpy(&bits, (const void *)swizzled(p, span), sizeof bits);
        return bits;
    }
};

struct products : groups<product> {
};

// Number j of those that a thread has of each row and eight rows further on.
struct result_place {
    unsigned row, column;
};
result_place result_of(int lane, unsigned j)
{
    return {(unsigned)lane / 4 + j % 4 / 2 * 8, j / 4 * 8 + (unsigned)lane % 4 * 2 + j % 2};
}

// Product `number` of those that are due, of this warp's 16 rows of 64.
template <int COLUMNS> void multiply(std::vector<product> *const *due, size_t number)
{
    const product &p = (*due[0])[number];
    float a[16][16], b[16][COLUMNS], y[16][COLUMNS];
    tile right(p.right, p.right_turned);
    for (unsigned n = 0; n < COLUMNS; n++)
        for (unsigned k = 0; k < 16; k++) b[k][n] = from_16(right.at(n, k), p.type);
    if (!p.a) {
        unsigned first = here().index() / 32 % 4 * 16;
        tile left(p.left, p.left_turned);
        for (unsigned m = 0; m < 16; m++)
            for (unsigned k = 0; k < 16; k++) a[m][k] = from_16(left.at(first + m, k), p.type);
    }
    for (int i = 0; i < 32; i++) {
        const product &mine = (*due[i])[number];
        if (mine.a) left_of_registers(a, i, mine.a, p.type);
        for (unsigned j = 0; j < COLUMNS / 2; j++) {
            result_place at = result_of(i, j);
            y[at.row][at.column] = mine.adds ? mine.y[j] : 0;
        }
    }
    add_product(y, a, b);
    for (int i = 0; i < 32; i++)
        for (unsigned j = 0; j < COLUMNS / 2; j++) {
            result_place at = result_of(i, j);
            (*due[i])[number].y[j] = y[at.row][at.column];
        }
}

void multiply_due(void *const *lanes)
{
    std::vector<product> *due[32];
    for (int i = 0; i < 32; i++) {
        due[i] = &of_lane<std::vector<product>>(lanes, i);
        if (due[i]->size() != due[0]->size()) misuse("lanes of a warp have asked for different products");
    }
    for (size_t i = 0; i < due[0]->size(); i++) {
        int columns = (*due[0])[i].columns;
        columns == 64 ? multiply<64>(due, i) : columns == 96 ? multiply<96>(due, i) : multiply<128>(due, i);
    }
}

} // namespace

void load_matrices(uint32_t (&r)[4], const void *row, bool transposed)
{
    matrices mine = {r, checked_row(row)};
    together(ALL, &mine, transposed ? load_all<true> : load_all<false>);
}

void store_matrices(void *row, const uint32_t (&r)[4])
{
    matrices mine = {const_cast<uint32_t *>(r), checked_row(row)};
    together(ALL, &mine, store_all);
}

void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, number type)
{
    factors mine = {d, a, {b0, b1}};
    together(ALL, &mine, type == TF32 ? multiply_tf32 : type == F16 ? multiply_16<F16> : multiply_16<BF16>);
}

void multiply_late(const product &p)
{
    if (!p.adds) memset(p.y, 0xff, (size_t)p.columns / 2 * sizeof *p.y);
    of_thread<products>().add(p);
}

void products_commit()
{
    of_thread<products>().commit();
}

void products_wait(int left)
{
    std::vector<product> due = of_thread<products>().take((size_t)left);
    together(ALL, &due, multiply_due);
}

} // namespace simt
