// Instructions of tensor cores, copies and barriers as this machine does them, against what they mean, by numbers whose sums are
// exact.
#include "device.h"

#include "kit/cuda/ptx_hopper.cuh"
#include "tensor_map.h"

#include <cstdio>
#include <random>
#include <vector>

static int failures;

static void expect(bool holds, const char *what)
{
    printf("%s: %s\n", holds ? "ok" : "FAILED", what);
    failures += !holds;
}

static std::mt19937 chance(7);

static float number()
{
    return (float)((int)(chance() % 65) - 32) / 8;
}

template <typename T> static uint16_t bits_of(float x);
template <> uint16_t bits_of<short>(float x) // bfloat16
{
    return (uint16_t)(__float_as_uint(x) >> 16);
}
template <> uint16_t bits_of<__half>(float x)
{
    return __half_raw(__float2half(x)).x;
}

template <typename T> static uint32_t two(float low, float high)
{
    return bits_of<T>(low) | (uint32_t)bits_of<T>(high) << 16;
}

// A matrix of numbers, row by row.
struct matrix {
    int rows, columns;
    std::vector<float> v;

    matrix(int r, int c, bool random = true) : rows(r), columns(c), v((size_t)(r * c))
    {
        for (float &x : v) x = random ? number() : 0;
    }
    float &operator()(int r, int c)
    {
        return v[(size_t)(r * columns + c)];
    }
};

static matrix product_of(matrix &a, matrix &b, matrix y)
{
    for (int m = 0; m < a.rows; m++)
        for (int n = 0; n < b.columns; n++)
            for (int k = 0; k < a.columns; k++) y(m, n) += a(m, k) * b(k, n);
    return y;
}

static void in_warp(size_t bytes, const std::function<void(int lane)> &act)
{
    simt::run({{1}, {32}, bytes, "in a warp"}, [&] { act((int)threadIdx.x); });
}

static bool matrices_travel()
{
    bool right = true;
    in_warp(4096, [&](int lane) {
        auto *tile = (uint16_t *)simt::dynamic_shared(), *copy = tile + 1024; // 32 rows of 8, one for each lane
        for (int i = 0; i < 8; i++) tile[lane * 8 + i] = (uint16_t)(lane * 8 + i);
        __syncwarp();
        uint32_t r[4], t[4];
        ldmatrix_x4(r, tile + lane * 8);
        ldmatrix_x4_trans(t, tile + lane * 8);
        for (int m = 0; m < 4; m++)
            for (int k = 0; k < 2; k++) {
                int straight = (m * 8 + lane / 4) * 8 + lane % 4 * 2 + k,
                    turned = (m * 8 + lane % 4 * 2 + k) * 8 + lane / 4;
                right &= (int)(r[m] >> 16 * k & 0xffff) == straight && (int)(t[m] >> 16 * k & 0xffff) == turned;
            }
        stmatrix_x4(copy + lane * 8, r);
        __syncwarp();
        for (int i = 0; i < 8; i++) right &= copy[lane * 8 + i] == tile[lane * 8 + i];
    });
    return right;
}

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
template <typename T> static bool warp_multiplies()
{
    matrix a(16, 16), b(16, 8), y(16, 8), wanted = product_of(a, b, y);
    bool right = true;
    in_warp(0, [&](int lane) {
        int g = lane / 4, t = lane % 4 * 2;
        uint32_t left[4] = {two<T>(a(g, t), a(g, t + 1)), two<T>(a(g + 8, t), a(g + 8, t + 1)),
                            two<T>(a(g, t + 8), a(g, t + 9)), two<T>(a(g + 8, t + 8), a(g + 8, t + 9))};
        uint32_t b0 = two<T>(b(t, g), b(t + 1, g)), b1 = two<T>(b(t + 8, g), b(t + 9, g));
        float d[4] = {y(g, t), y(g, t + 1), y(g + 8, t), y(g + 8, t + 1)};
        if (std::is_same_v<T, __half>)
            mma_m16n8k16_f16(d, left, b0, b1);
        else
            mma_m16n8k16_bf16(d, left, b0, b1);
        for (int i = 0; i < 4; i++) right &= d[i] == wanted(g + i / 2 * 8, t + i % 2);
    });
    return right;
}

static bool warp_multiplies_tf32()
{
    matrix a(16, 8), b(8, 8), y(16, 8), wanted = product_of(a, b, y);
    bool right = true;
    in_warp(0, [&](int lane) {
        int g = lane / 4, t = lane % 4;
        uint32_t left[4] = {round_tf32(a(g, t)), round_tf32(a(g + 8, t)), round_tf32(a(g, t + 4)),
                            round_tf32(a(g + 8, t + 4))};
        uint32_t rights[2] = {round_tf32(b(t, g)), round_tf32(b(t + 4, g))};
        float d[4] = {y(g, 2 * t), y(g, 2 * t + 1), y(g + 8, 2 * t), y(g + 8, 2 * t + 1)};
        mma_m16n8k8_tf32(d, left, rights);
        for (int i = 0; i < 4; i++) right &= d[i] == wanted(g + i / 2 * 8, 2 * t + i % 2);
    });
    return right;
}

static bool arithmetic()
{
    bool right = round_tf32(1.0f) == 0x3f800000 && round_tf32(__uint_as_float(0x3f801000)) == 0x3f802000 &&
                 round_tf32(__uint_as_float(0x3f800fff)) == 0x3f800000 && round_tf32(-INFINITY) == 0xff800000;
    return right && exp2_approx(3) == 8 && exp2_approx(-INFINITY) == 0 && exp2_approx(-130) == 0 &&
           std::isnan(exp2_approx(NAN));
}

// A copy comes when it is waited for, not before, and leaves nothing of what was there.
static bool copies_are_late()
{
    std::vector<float> from(32 * 4 * 3);
    for (float &x : from) x = number();
    auto *aligned = (float *)aligned_alloc(16, from.size() * 4);
    memcpy(aligned, from.data(), from.size() * 4);
    bool right = true;
    in_warp(2048, [&](int lane) {
        float *to = (float *)simt::dynamic_shared() + lane * 4;
        memset(to, 0, 16);
        cp_async_16(to, aligned + lane * 4, true);
        cp_async_commit();
        cp_async_16_at(shared_address(to + 128), aligned + 128 + lane * 4);
        cp_async_commit();
        cp_async_16(to + 256, nullptr, false);
        right &= std::isnan(to[0]) && std::isnan(to[131]) && std::isnan(to[256]);
        cp_async_wait<1>();
        right &= to[3] == from[(size_t)lane * 4 + 3] && std::isnan(to[128]);
        cp_async_wait<0>();
        right &= to[129] == from[(size_t)lane * 4 + 129] && std::isnan(to[256]);
        cp_async_commit();
        cp_async_wait<0>();
        right &= to[256] == 0 && to[259] == 0;
    });
    free(aligned);
    return right;
}

// Blocks wait for one another by counts.
static bool blocks_hand_on()
{
    int count = 0, sum = 0;
    unsigned arrived = 0;
    simt::run({{simt::MULTIPROCESSORS}, {32}, 0, "hand on"}, [&] {
        if (threadIdx.x) return;
        red_release_add(&arrived, 2);
        while (load_acquire(&arrived) < 2 * gridDim.x) {}
        while (load_acquire(&count) < (int)blockIdx.x) {}
        sum = sum * 10 + (int)blockIdx.x; // in order
        store_release(&count, (int)blockIdx.x + 1);
    });
    return sum == 123;
}

struct alignas(1024) stage {
    uint16_t tile[64 * 64];
    float numbers[256];
    uint64_t full[2], free[2];
};

// One warp fetches in turn into two places, another one reads them and gives them back.
static bool barriers_take_turns()
{
    alignas(16) static float from[8][64];
    for (auto &row : from)
        for (float &x : row) x = number();
    bool right = true;
    simt::run({{1}, {64}, sizeof(stage), "ring"}, [&] {
        auto &s = *(stage *)simt::dynamic_shared();
        if (threadIdx.x == 0) {
            for (int i = 0; i < 2; i++) mbarrier_init(&s.full[i], 1), mbarrier_init(&s.free[i], 32);
            fence_mbarrier_init();
        }
        __syncthreads();
        for (int i = 0; i < 8; i++) {
            unsigned turn = (unsigned)i / 2 & 1;
            float *place = s.numbers + i % 2 * 64;
            if (threadIdx.x == 0) {
                while (!mbarrier_try_wait(&s.free[i % 2], turn ^ 1)) {}
                mbarrier_arrive_expect_tx(&s.full[i % 2], 256);
                bulk_load(place, from[i], 128, &s.full[i % 2]);
                bulk_load(place + 32, from[i] + 32, 128, &s.full[i % 2]);
                right &= std::isnan(place[63]);
            } else if (threadIdx.x >= 32) {
                while (!mbarrier_try_wait(&s.full[i % 2], turn)) {}
                for (int k = 0; k < 64; k++) right &= place[k] == from[i][k];
                mbarrier_arrive(&s.free[i % 2]);
            }
        }
    });
    return right;
}

// What a grid reads before it waits for the one ahead is old; what it reads behind that is new. So is what copies bring that it
// asks for there.
static bool grids_begin_early()
{
    enum { BLOCKS = 6 };
    alignas(16) static int made[4] = {1, 1, 1, 1};
    int before[BLOCKS], behind[BLOCKS], copied[BLOCKS], at_once = simt::MULTIPROCESSORS;
    auto later = [&] {
        auto *s = (int *)simt::dynamic_shared();
        before[blockIdx.x] = made[0];
        cp_async_16(s, made, true);
        cp_async_commit();
        wait_for_writers();
        behind[blockIdx.x] = made[0];
        cp_async_wait<0>();
        copied[blockIdx.x] = s[3];
    };
    {
        simt::early second([&] { simt::run({{BLOCKS}, {1}, 16, "second"}, later); });
        simt::run({{1}, {32}, 0, "first"}, [&] {
            if (threadIdx.x < 4) made[threadIdx.x] = 2;
        });
    }
    bool right = true;
    for (int i = 0, early = 0; i < BLOCKS; i++) {
        early += before[i] == 1;
        right &= behind[i] == 2 && copied[i] == before[i] && (i < BLOCKS - 1 || early == at_once);
    }
    return right;
}

// Blocks of a cluster add up what the others have.
static bool clusters_meet()
{
    enum { PARTS = 8, CLUSTERS = 3 };
    int sums[CLUSTERS][PARTS] = {};
    simt::launch l = {{CLUSTERS, 1, PARTS}, {32}, 128, "cluster"};
    l.cluster = PARTS;
    for (int round = 0; round < 3; round++)
        simt::run(l, [&] {
            auto *s = (int *)simt::dynamic_shared();
            s[threadIdx.x] = (int)(blockIdx.x * 100 + blockIdx.z);
            simt::wait_for_cluster();
            for (unsigned i = 0; threadIdx.x == 7 && i < PARTS; i++)
                sums[blockIdx.x][blockIdx.z] += *(int *)simt::shared_of_cluster(s + 7, i);
            simt::wait_for_cluster();
        });
    bool right = true;
    for (int c = 0; c < CLUSTERS; c++)
        for (int p = 0; p < PARTS; p++) right &= sums[c][p] == 3 * (c * 100 * PARTS + 28);
    return right;
}

// Where number c of row r lies in rows of 128 bytes, swizzled.
static int swizzled_place(int r, int c)
{
    return r * 64 + (c / 8 ^ r % 8) * 8 + c % 8;
}

// A tensor (2, 5 tokens, 3 heads, 72) by boxes of 4 tokens and 64 columns, also half beyond its ends.
static bool boxes_travel()
{
    enum { B = 2, T = 5, H = 3, D = 72 };
    alignas(64) static uint16_t from[B][T][H][D], to[B][T][H][D];
    for (int i = 0; i < B * T * H * D; i++) (&from[0][0][0][0])[i] = (uint16_t)(i + 1);
    CUtensorMap maps[2];
    cuuint64_t sizes[] = {D, H, T, B}, strides[] = {D * 2, H * D * 2, T * H * D * 2};
    cuuint32_t box[] = {64, 1, 4, 1}, steps[] = {1, 1, 1, 1};
    for (int i = 0; i < 2; i++)
        if (simt_encode_tiled(&maps[i], CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, i ? (void *)to : (void *)from, sizes,
                              strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                              CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE))
            return false;
    bool right = true;
    simt::run({{1}, {1}, sizeof(stage), "boxes"}, [&] {
        auto &s = *(stage *)simt::dynamic_shared();
        mbarrier_init(&s.full[0], 1);
        unsigned turn = 0;
        for (int b = 0; b < B; b++)
            for (int first = -2; first < T; first += 4)
                for (int head = 0; head < H; head++)
                    for (int column = 0; column < D; column += 64) {
                        mbarrier_arrive_expect_tx(&s.full[0], 4 * 128);
                        tma_load_4d(s.tile, &maps[0], &s.full[0], column, head, first, b);
                        right &= s.tile[0] == 0xffff;
                        while (!mbarrier_try_wait(&s.full[0], turn)) {}
                        turn ^= 1;
                        for (int r = 0; r < 4; r++)
                            for (int c = 0; c < 64; c++) {
                                bool there = first + r >= 0 && first + r < T && column + c < D;
                                int wanted = there ? from[b][first + r][head][column + c] : 0;
                                right &= s.tile[swizzled_place(r, c)] == wanted;
                            }
                        tma_store_4d(&maps[1], s.tile, column, head, first, b);
                        bulk_commit();
                        bulk_wait_read();
                    }
    });
    return right && !memcmp(from, to, sizeof from);
}

static bool bytes_are_added()
{
    alignas(16) static float to[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    simt::run({{1}, {1}, sizeof(stage), "add"}, [&] {
        auto &s = *(stage *)simt::dynamic_shared();
        for (int i = 0; i < 8; i++) s.numbers[i] = (float)i;
        bulk_add_f32(to, s.numbers, 32);
        bulk_commit();
        bulk_wait();
        bulk_store(to + 4, s.numbers, 16);
        bulk_commit();
        bulk_wait();
    });
    return to[0] == 1 && to[3] == 7 && to[4] == 0 && to[7] == 3;
}

// Panels of 64 numbers a row, each of `rows` rows.
static void fill_panels(uint16_t *tile, matrix &m, uint16_t (*bits)(float))
{
    for (int r = 0; r < m.rows; r++)
        for (int c = 0; c < m.columns; c++) tile[c / 64 * m.rows * 64 + swizzled_place(r, c % 64)] = bits(m(r, c));
}

static uint64_t describe(const void *at, int across)
{
    return (uint64_t)(shared_address(at) >> 4) | (uint64_t)(across >> 4) << 16 | (uint64_t)64 << 32 | (uint64_t)1 << 62;
}

static matrix turned(matrix &m)
{
    matrix t(m.columns, m.rows, false);
    for (int r = 0; r < m.rows; r++)
        for (int c = 0; c < m.columns; c++) t(c, r) = m(r, c);
    return t;
}

enum kind { SHARED, SHARED_COLUMNS, REGISTERS, REGISTERS_COLUMNS };

// y (64 x 8 N) = a (64 x 64) b, in four steps of 16, then b's first 16 rows once more.
template <typename T, int N, kind KIND> static bool group_multiplies()
{
    constexpr bool COLUMNS = KIND == SHARED_COLUMNS || KIND == REGISTERS_COLUMNS;
    matrix a(64, 64), b(64, 8 * N), none(64, 8 * N, false), wanted = product_of(a, b, none);
    matrix a0(64, 16), b0(16, 8 * N);
    for (int m = 0; m < 64; m++)
        for (int k = 0; k < 16; k++) a0(m, k) = a(m, k);
    for (int k = 0; k < 16; k++)
        for (int n = 0; n < 8 * N; n++) b0(k, n) = b(k, n);
    wanted = product_of(a0, b0, wanted);
    matrix left = turned(a), right = turned(b);
    bool fine = true;
    simt::run({{1}, {128}, 32768, "group"}, [&] {
        auto *lefts = (uint16_t *)simt::dynamic_shared(), *rights = lefts + 64 * 64;
        if (threadIdx.x == 0) {
            fill_panels(lefts, KIND == SHARED_COLUMNS ? left : a, bits_of<T>);
            fill_panels(rights, COLUMNS ? b : right, bits_of<T>);
        }
        __syncthreads();
        int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16 + lane / 4, t = lane % 4 * 2;
        float y[N][4] = {};
        uint32_t r[4][4];
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 4; i++) {
                int m = row + i % 2 * 8, at = k * 16 + i / 2 * 8 + t;
                r[k][i] = two<T>(a(m, at), a(m, at + 1));
            }
        auto step = [&](int k, auto adds) {
            uint64_t l = describe(lefts + (COLUMNS ? k * 16 * 64 : k * 16), 16);
            uint64_t d = describe(rights + (COLUMNS ? k * 16 * 64 : k * 16), COLUMNS ? 64 * 128 : 16);
            if constexpr (KIND == SHARED || KIND == SHARED_COLUMNS)
                wgmma_shared<T, adds(), COLUMNS>(y, l, d);
            else
                wgmma_registers<T, adds(), COLUMNS>(y, r[k], d);
        };
        wgmma_fence();
        step(0, std::false_type());
        for (int k = 1; k < 4; k++) step(k, std::true_type());
        wgmma_commit();
        step(0, std::true_type());
        wgmma_commit();
        fine &= std::isnan(y[0][0]) && std::isnan(y[N - 1][3]);
        wgmma_wait<1>();
        fine &= !std::isnan(y[0][0]);
        wgmma_wait<0>();
        for (int j = 0; j < N; j++)
            for (int i = 0; i < 4; i++) fine &= y[j][i] == wanted(row + i / 2 * 8, j * 8 + t + i % 2);
    });
    return fine;
}

template <typename T> static void test_groups(const char *type)
{
    printf("%s:\n", type);
    expect(group_multiplies<T, 8, SHARED>(), "wgmma, both sides in shared memory, 64 columns");
    expect(group_multiplies<T, 16, SHARED>(), "and 128");
    expect(group_multiplies<T, 8, SHARED_COLUMNS>(), "by rows that are summed over");
    expect(group_multiplies<T, 16, REGISTERS>(), "the left side in registers, 128 columns");
    expect(group_multiplies<T, 8, REGISTERS_COLUMNS>(), "and by rows that are summed over, 64");
    expect(group_multiplies<T, 16, REGISTERS_COLUMNS>(), "and 128");
}

int main()
{
    expect(matrices_travel(), "ldmatrix and stmatrix");
    expect(warp_multiplies<short>(), "mma of bfloat16");
    expect(warp_multiplies<__half>(), "mma of float16");
    expect(warp_multiplies_tf32(), "mma of tf32");
    expect(arithmetic(), "round_tf32 and exp2_approx");
    expect(copies_are_late(), "cp.async comes when it is waited for");
    expect(blocks_hand_on(), "counts between blocks");
    expect(grids_begin_early(), "a grid that begins early");
    expect(clusters_meet(), "clusters");
    expect(barriers_take_turns(), "mbarrier and bulk copies");
    expect(boxes_travel(), "boxes of tensors, also beyond their ends");
    expect(bytes_are_added(), "bulk stores and sums");
    test_groups<short>("bfloat16");
    test_groups<__half>("float16");
    return failures != 0;
}
