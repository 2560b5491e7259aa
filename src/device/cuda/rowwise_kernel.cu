// One block's rows through a chain of steps (rowwise.h). A warp has a row of what is done element by element, and 16 columns
// at a time of a product's result. Rows lie in shared memory from the first stage to the last; what nobody here makes is
// brought before the first. Weights come through a ring of tiles of each warp's own, in the order in which its
// products want them, so that the next step's are on their way while this one is computed.
#include "device/cuda/rowwise.h"
#include "kit/cuda/mma.cuh"
#include "kit/cuda/norm.cuh"

static constexpr int WARPS = ROWWISE_ROWS, BLOCK = 32 * WARPS, SLOTS = 4, STRIP = ROWWISE_WIDE, DEEP = ROWWISE_DEEP,
                     TILE = STRIP * DEEP, STEPS = DEEP / 16, COUNT = STRIP / 8;
static_assert(STRIP == 16, "a tile's rows are what ldmatrix gives of two right sides");

// The strips of columns that a warp makes, and the tiles of its sums; part 0 of a strip's warps adds the sums of the others.
struct alignas(16) share {
    int strip, strips, from, to, part, parts, rounds; // rounds: strips that it makes, from the first on

    __device__ __forceinline__ int next(int strip) const
    {
        return strip + WARPS < strips ? strip + WARPS : strip + WARPS - strips;
    }
};

template <typename T> struct rowwise_memory {
    T ring[WARPS][SLOTS][TILE];
    alignas(16) rowwise_launch launch;
    share shares[ROWWISE_STAGES][WARPS];
    alignas(128) char values[16];
};

__device__ __forceinline__ share share_of(const rowwise_stage &s, int warp)
{
    int strips = s.columns / STRIP, tiles = (s.depth + DEEP - 1) / DEEP;
    int parts = rowwise_parts(strips, tiles);
    // Each block begins elsewhere: not all multiprocessors want the same lines of L2 at the same time.
    int turn = (int)(blockIdx.x * 5 % strips);
    if (parts == 1)
        return {(warp + turn) % strips, strips, 0, tiles, 0, 1, max((strips - warp + WARPS - 1) / WARPS, 0)};
    int part = warp / strips;
    if (part >= parts) return {0, strips, 0, 0, part, parts, 0};
    int strip = (warp - part * strips + turn) % strips;
    return {strip, strips, tiles * part / parts, tiles * (part + 1) / parts, part, parts, 1};
}

// Once, before the rows are there: divisions take long.
template <typename T> __device__ __forceinline__ void divide_products(rowwise_memory<T> &m)
{
    int stage = (int)threadIdx.x / WARPS, warp = threadIdx.x % WARPS;
    if (stage < m.launch.stages && m.launch.stage[stage].kind == ROWWISE_PRODUCT)
        m.shares[stage][warp] = share_of(m.launch.stage[stage], warp);
}

// What a warp asks for next. A lane copies four chunks of 16 bytes of a tile, `apart` bytes from each other.
template <typename T> struct weight_reader {
    const rowwise_launch &l;
    const share (*shares)[WARPS];
    T *ring;
    const char *from = nullptr, *strip_from = nullptr; // this lane's, of the tile, and of the strip's first
    int64_t apart = 0;
    int stage = -1, strip = 0, rounds = 0, all_strips = 0, tiles = 0, tiles_of_strip = 0, left = 0, left_of_strip = 0;
    int slot = 0, used = 0;

    // The first tile of another product; false: there is none.
    __device__ __forceinline__ bool next_product()
    {
        int lane = threadIdx.x % 32;
#pragma unroll 1
        while (++stage < l.stages) {
            const rowwise_stage &s = l.stage[stage];
            if (s.kind != ROWWISE_PRODUCT) continue;
            const share mine = shares[stage][threadIdx.x / 32];
            if (!mine.rounds || mine.from >= mine.to) continue;
            int64_t pitch = s.weights_pitch * (int64_t)sizeof(T);
            int row = lane / 8, chunk = lane % 8;
            apart = 4 * pitch;
            from = (const char *)s.weights + (mine.strip * STRIP + row) * pitch +
                   (mine.from * DEEP + chunk * 8) * (int64_t)sizeof(T);
            strip_from = from;
            tiles = tiles_of_strip = mine.to - mine.from;
            rounds = mine.rounds;
            strip = mine.strip, all_strips = mine.strips;
            left = left_of_strip = s.depth - mine.from * DEEP - chunk * 8;
            return true;
        }
        stage = l.stages; // and stays there
        return false;
    }
    __device__ __forceinline__ void copy()
    {
        int lane = threadIdx.x % 32, even = tile_at<DEEP>(lane / 8, lane % 8),
            odd = tile_at<DEEP>(lane / 8 + 4, lane % 8);
        T *to = ring + slot * TILE;
        const char *second = from + apart, *third = second + apart, *fourth = third + apart;
        cp_async_16(to + even, from, left > 0);
        cp_async_16(to + odd, second, left > 0);
        cp_async_16(to + 512 + even, third, left > 0);
        cp_async_16(to + 512 + odd, fourth, left > 0);
        slot = slot == SLOTS - 1 ? 0 : slot + 1;
        from += DEEP * sizeof(T);
        left -= DEEP;
        if (--tiles) return;
        tiles = tiles_of_strip, left = left_of_strip;
        int before = strip;
        strip += strip + WARPS < all_strips ? WARPS : WARPS - all_strips;
        from = strip_from += (strip - before) * (STRIP / 4) * apart;
        rounds--;
    }
    // One tile, or nothing when there are no more: a group of copies either way.
    __device__ __forceinline__ void ask()
    {
        if (rounds || next_product()) copy();
        cp_async_commit();
    }
    // The tile that was asked for longest ago; another one is asked for in the place of the one before it.
    __device__ __forceinline__ const T *next()
    {
        cp_async_wait<SLOTS - 2>();
        __syncwarp();
        ask();
        const T *tile = ring + used * TILE;
        used = used == SLOTS - 1 ? 0 : used + 1;
        return tile;
    }
};

// This warp's row: in shared memory and in memory.
template <typename T> __device__ __forceinline__ T *local_row(const rowwise_rows &r, char *values)
{
    return (T *)(values + r.local + (int)threadIdx.x / 32 * r.local_pitch);
}

template <typename T> __device__ __forceinline__ T *row_of(const rowwise_rows &r)
{
    return (T *)((char *)r.at + (blockIdx.x * (int64_t)ROWWISE_ROWS + threadIdx.x / 32) * r.pitch);
}

__device__ __forceinline__ int64_t this_row()
{
    return blockIdx.x * (int64_t)ROWWISE_ROWS + threadIdx.x / 32;
}

__device__ __forceinline__ void fetch_row(const rowwise_fetch f, int index, char *values)
{
    int warp = (int)threadIdx.x / 32, lane = threadIdx.x % 32;
    int64_t row = f.alone ? 0 : this_row();
    char *to = values + f.local + (f.alone ? 0 : warp * f.local_pitch);
    bool known = true;
    if (f.index) {
        row = index;
        known = row >= 0 && row < f.count;
        if (!known) row = 0;
    }
    const char *from = (const char *)f.at + row * f.pitch;
    for (int b = lane * 16; b < f.bytes; b += 32 * 16) cp_async_16(to + b, from + b, known);
}

__device__ __forceinline__ void fetch_all(const rowwise_launch &l, char *values)
{
#pragma unroll 1
    for (int i = 0; i < l.at_once; i++)
        if (!l.fetch[i].alone || i % WARPS == (int)threadIdx.x / 32) fetch_row(l.fetch[i], 0, values);
    cp_async_commit();
}

// Rows by an index are two loads, one behind the other. The first index has been asked for long before.
__device__ __forceinline__ void fetch_by_index(const rowwise_launch &l, int first, char *values)
{
#pragma unroll 1
    for (int i = l.at_once; i < l.fetches; i++)
        fetch_row(l.fetch[i], i == l.at_once ? first : l.fetch[i].index[this_row()], values);
    cp_async_commit();
}

// A product's stage in registers: copies on their way make the compiler forget what it has read of shared memory.
struct product {
    const char *left, *more; // this lane's rows of the left side, and of what is added, or NULL
    char *y;                 // as of `more`: row lane / 4, columns lane % 4 * 2 of a strip, and 8 rows below
    int more_below, y_below, depth;
    int right[STEPS]; // this lane's places in a tile

    __device__ __forceinline__ product(const rowwise_stage &s, char *values)
    {
        int lane = threadIdx.x % 32;
        depth = s.depth;
        left = values + s.in[0].local + lane % 16 * s.in[0].local_pitch + lane / 16 * 16;
        more = s.in[1].at ? values + s.in[1].local + lane / 4 * s.in[1].local_pitch + lane % 4 * 4 : nullptr;
        y = values + s.out[0].local + lane / 4 * s.out[0].local_pitch + lane % 4 * 4;
        more_below = 8 * s.in[1].local_pitch;
        y_below = 8 * s.out[0].local_pitch;
#pragma unroll
        for (int d = 0; d < STEPS; d++) right[d] = tile_at<DEEP>(lane % 8 + lane / 16 * 8, d * 2 + (lane / 8 & 1));
    }
};

template <typename T>
__device__ __forceinline__ void multiply_step(float (&y)[COUNT][4], const product &p, int d, const char *left,
                                              const T *tile)
{
    uint32_t a[4], b[4];
    ldmatrix_x4(a, left + d * 32);
    ldmatrix_x4(b, tile + p.right[d]);
    multiply_add<T>(y[0], a, b[0], b[1]);
    multiply_add<T>(y[1], a, b[2], b[3]);
}

// left: of the tile's depth, of which the last tile has less.
template <typename T>
__device__ __forceinline__ void multiply_tile(float (&y)[COUNT][4], const product &p, const char *left, const T *tile,
                                              int depth)
{
    if (depth >= DEEP) {
#pragma unroll
        for (int d = 0; d < STEPS; d++) multiply_step(y, p, d, left, tile);
    } else {
#pragma unroll
        for (int d = 0; d < STEPS - 1; d++)
            if (d * 16 < depth) multiply_step(y, p, d, left, tile);
    }
}

template <typename T> __device__ __forceinline__ void put_two(char *y, const char *more, float u, float v)
{
    if (more) {
        pack<T, 2> m = load_pack<2>((const T *)more);
        u += to_float(m.at[0]), v += to_float(m.at[1]);
    }
    store_pack<2>((T *)y, pack<T, 2>{to<T>(u), to<T>(v)});
}

template <typename T> __device__ __forceinline__ void put_strip(const product &p, int strip, const float (&y)[COUNT][4])
{
    int at = strip * STRIP * (int)sizeof(T);
    char *to = p.y + at;
    const char *more = p.more ? p.more + at : nullptr;
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
        put_two<T>(to + j * 16, more ? more + j * 16 : nullptr, y[j][0], y[j][1]);
        put_two<T>(to + j * 16 + p.y_below, more ? more + j * 16 + p.more_below : nullptr, y[j][2], y[j][3]);
    }
}

// What the others made of a strip is added in their order. True: the sums are this warp's to put down.
__device__ __forceinline__ bool join_parts(float (&y)[COUNT][4], const share &mine, float *work)
{
    float4 *sums =
        (float4 *)work + (mine.part - 1) * mine.strips * (COUNT * 32) + mine.strip * (COUNT * 32) + threadIdx.x % 32;
    bool works = mine.part < mine.parts;
#pragma unroll
    for (int j = 0; j < COUNT; j++)
        if (works && mine.part) sums[32 * j] = make_float4(y[j][0], y[j][1], y[j][2], y[j][3]);
    __syncthreads();
    if (mine.part) return false;
#pragma unroll 1
    for (int part = 1; part < mine.parts; part++) {
        sums += mine.strips * (COUNT * 32);
#pragma unroll
        for (int j = 0; j < COUNT; j++) {
            float4 more = sums[32 * j];
            y[j][0] += more.x, y[j][1] += more.y, y[j][2] += more.z, y[j][3] += more.w;
        }
    }
    return true;
}

template <typename T>
__device__ __forceinline__ void make_product(const rowwise_stage &s, const share mine, char *values,
                                             weight_reader<T> &weights)
{
    const product p(s, values);
    float *work = (float *)(values + s.work), y[COUNT][4];
#pragma unroll 1
    for (int round = 0, strip = mine.strip; round < mine.rounds; round++, strip = mine.next(strip)) {
        const char *left = p.left + mine.from * DEEP * (int)sizeof(T);
        int depth = p.depth - mine.from * DEEP;
#pragma unroll
        for (int i = 0; i < COUNT * 4; i++) y[i / 4][i % 4] = 0;
#pragma unroll 1
        for (int tile = mine.from; tile < mine.to; tile++) {
            multiply_tile<T>(y, p, left, weights.next(), depth);
            left += DEEP * (int)sizeof(T), depth -= DEEP;
        }
        if (mine.parts == 1) put_strip<T>(p, strip, y);
    }
    if (mine.parts > 1 && join_parts(y, mine, work)) put_strip<T>(p, mine.strip, y);
}

// This warp's row of a product, from shared memory.
__device__ __forceinline__ void write_out(const rowwise_rows r, char *values)
{
    const uint4 *from = local_row<uint4>(r, values);
    uint4 *to = row_of<uint4>(r);
    int count = r.bytes / 16;
#pragma unroll 4
    for (int i = threadIdx.x % 32; i < count; i += 32) to[i] = from[i];
    __syncwarp();
}

// Four columns a lane, of as many packs of 128 columns as a row has.
template <int PACKS, typename T>
__device__ __forceinline__ void load_row(float (&v)[PACKS][4], const T *row, int columns)
{
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        int c = p * 128 + (int)(threadIdx.x % 32) * 4;
        pack<T, 4> x = {};
        if (c < columns) x = load_pack<4>(row + c);
#pragma unroll
        for (int i = 0; i < 4; i++) v[p][i] = to_float(x.at[i]);
    }
}

template <int PACKS, typename T>
__device__ __forceinline__ void load_gains(float (&v)[PACKS][4], const rowwise_stage &s, const char *values)
{
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        int c = p * 128 + (int)(threadIdx.x % 32) * 4;
        if (c < s.columns) load_weights<T>(v[p], weights{values + s.gains, s.wide != 0}, c);
    }
}

// To shared memory and to memory.
template <int PACKS, typename T>
__device__ __forceinline__ void store_row(const rowwise_rows &r, char *values, const float (&v)[PACKS][4], int columns)
{
    T *local = local_row<T>(r, values), *row = row_of<T>(r);
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
        int c = p * 128 + (int)(threadIdx.x % 32) * 4;
        if (c >= columns) continue;
        pack<T, 4> y = {to<T>(v[p][0]), to<T>(v[p][1]), to<T>(v[p][2]), to<T>(v[p][3])};
        store_pack<4>(local + c, y);
        store_pack<4>(row + c, y);
    }
}

template <int PACKS, typename T> __device__ __forceinline__ void make_norm(const rowwise_stage s, char *values)
{
    float x[PACKS][4], gain[PACKS][4] = {}, sum = 0;
    load_gains<PACKS, T>(gain, s, values);
    load_row(x, local_row<T>(s.in[0], values), s.columns);
#pragma unroll
    for (int i = 0; i < PACKS * 4; i++) sum += x[i / 4][i % 4] * x[i / 4][i % 4];
    float rstd = rsqrtf(__fdividef(warp_join<add_floats>(sum), (float)s.columns) + s.eps);
    if (s.out[1].at && threadIdx.x % 32 == 0) *row_of<float>(s.out[1]) = *local_row<float>(s.out[1], values) = rstd;
#pragma unroll
    for (int i = 0; i < PACKS * 4; i++) x[i / 4][i % 4] = x[i / 4][i % 4] * rstd * gain[i / 4][i % 4];
    store_row<PACKS, T>(s.out[0], values, x, s.columns);
}

// Halves of a head turn against each other (ops/rope).
template <typename T> __device__ __forceinline__ void turn_row(const rowwise_stage s, char *values)
{
    const T *x = local_row<T>(s.in[0], values);
    T *y = local_row<T>(s.out[0], values), *out = row_of<T>(s.out[0]);
    int fours = s.columns / 8;
    weights table = {values + s.gains + (int)threadIdx.x / 32 * s.gains_pitch, s.wide != 0};
    for (int i = threadIdx.x % 32; i < s.depth * fours; i += 32) {
        int head = i / fours, item = (i - head * fours) * 4, one = head * s.columns + item, other = one + fours * 4;
        float c[4], sine[4];
        load_weights<T>(c, table, item);
        load_weights<T>(sine, table, fours * 4 + item);
        pack<T, 4> u = load_pack<4>(x + one), v = load_pack<4>(x + other);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float a = to_float(u.at[k]), b = to_float(v.at[k]), turn = sine[k];
            u.at[k] = to<T>(a * c[k] - b * turn);
            v.at[k] = to<T>(b * c[k] + a * turn);
        }
        store_pack<4>(y + one, u);
        store_pack<4>(y + other, v);
        store_pack<4>(out + one, u);
        store_pack<4>(out + other, v);
    }
}

// a sigmoid(a) b
template <typename T> __device__ __forceinline__ void gate_row(const rowwise_stage s, char *values)
{
    const T *gate = local_row<T>(s.in[0], values), *up = local_row<T>(s.in[1], values);
    T *y = local_row<T>(s.out[0], values), *out = row_of<T>(s.out[0]);
#pragma unroll 1
    for (int c = threadIdx.x % 32 * 4; c < s.columns; c += 32 * 4) {
        pack<T, 4> a = load_pack<4>(gate + c), b = load_pack<4>(up + c);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float x = to_float(a.at[i]);
            a.at[i] = to<T>(x * __fdividef(1.0f, 1.0f + __expf(-x)) * to_float(b.at[i]));
        }
        store_pack<4>(y + c, a);
        store_pack<4>(out + c, a);
    }
}

template <typename T>
__device__ __forceinline__ void make_stage(const rowwise_stage &s, const share &mine, char *values,
                                           weight_reader<T> &weights)
{
    constexpr int MOST = ROWWISE_COLUMNS / 128;
    bool narrow = s.columns <= 128;
    switch (s.kind) {
    case ROWWISE_NORM: narrow ? make_norm<1, T>(s, values) : make_norm<MOST, T>(s, values); break;
    case ROWWISE_PRODUCT: make_product(s, mine, values, weights); break;
    case ROWWISE_ROPE:
        cp_async_wait<0>(); // its rows of the table
        __syncwarp();
        turn_row<T>(s, values);
        break;
    case ROWWISE_SWIGLU: gate_row<T>(s, values); break;
    }
}

template <typename T>
__global__ void __launch_bounds__(BLOCK, 1) rowwise_steps(const __grid_constant__ rowwise_launch given)
{
    rowwise_memory<T> &m = tiles_in_memory<rowwise_memory<T>>();
    const rowwise_launch &l = m.launch;
    // From here on nobody waits for a parameter that the multiprocessor has not seen yet.
    int words = (int)(offsetof(rowwise_launch, stage) + given.stages * sizeof(rowwise_stage)) / 8;
    for (int i = threadIdx.x; i < words; i += BLOCK) ((uint64_t *)&m.launch)[i] = ((const uint64_t *)&given)[i];
    __syncthreads();
    divide_products(m);
    __syncthreads();
    weight_reader<T> reader{l, m.shares, m.ring[threadIdx.x / 32][0]};
    if (!l.early) wait_for_inputs();
#pragma unroll 1
    for (int i = 0; i < SLOTS - 1; i++) reader.ask();
    if (l.early) wait_for_inputs();
    int index = l.at_once < l.fetches ? l.fetch[l.at_once].index[this_row()] : 0;
    fetch_all(l, m.values);
    cp_async_wait<0>();
    __syncthreads();
    for (int i = 0; i < l.stages; i++) {
        if (i == l.stage_of_index) fetch_by_index(l, index, m.values);
        const rowwise_stage &s = l.stage[i];
        if (s.waits) __syncthreads();
        make_stage<T>(s, m.shares[i][threadIdx.x / 32], m.values, reader);
        __syncthreads();
        if (s.kind == ROWWISE_PRODUCT) write_out(s.out[0], m.values);
    }
}

template <typename T> static constexpr int fixed_bytes = (int)sizeof(rowwise_memory<T>) + 1024;

static int bytes_of(const rowwise_launch *l)
{
    return fixed_bytes<bf16> + l->bytes;
}

template <typename T> static bool has_room(int values)
{
    int blocks = 0, bytes = fixed_bytes<T> + values;
    return !cudaFuncSetAttribute(rowwise_steps<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) &&
           !cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, rowwise_steps<T>, BLOCK, (size_t)bytes) &&
           blocks > 0;
}

int rowwise_room(void)
{
    static const int rooms[] = {88 << 10, 72 << 10, 56 << 10, 40 << 10, 24 << 10};
    for (int room : rooms) {
        if (has_room<bf16>(room) && has_room<f16>(room)) return room;
        (void)cudaGetLastError();
    }
    return 0;
}

cudaError_t rowwise_start(const rowwise_run *run, const queue *q)
{
    const rowwise_launch *l = &run->launch;
    if (run->dtype == INGOT_BF16)
        rowwise_steps<bf16><<<l->blocks, BLOCK, bytes_of(l), q->stream>>>(*l);
    else
        rowwise_steps<f16><<<l->blocks, BLOCK, bytes_of(l), q->stream>>>(*l);
    return cudaGetLastError();
}
