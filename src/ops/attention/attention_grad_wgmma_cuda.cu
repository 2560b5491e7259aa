// attention_grad.wgmma: what its kernel needs beforehand, its scratch, its launch.
#include "ops/attention/attention_grad_products.cuh"

// Of 128 queries of a head, 256 threads: delta, lse to base 2, and, once a batch row, where segments begin. Counts become 0.
template <typename T, int WIDTH> __global__ void __launch_bounds__(256) grad_begin(wgmma_backward w)
{
    wait_for_inputs();
    constexpr int LANES = WIDTH / 8, QUERIES = GRAD_QUERIES<WIDTH>;
    const attention_numbers &a = w.f.a;
    int head = blockIdx.y, batch = blockIdx.z, lane = threadIdx.x % LANES, column = lane * 8;
    int64_t numbers = ((int64_t)batch * a.heads + head);
    rows_in<T> dout = rows_of_head<T>(w.f.dout, a, batch, head), o = rows_of_head<T>(w.f.o, a, batch, head);
#pragma unroll
    for (int i = 0; i < LANES / 2; i++) {
        int token = (int)blockIdx.x * 128 + i * (256 / LANES) + (int)threadIdx.x / LANES;
        float sum = 0;
        if (token < a.tokens && column < a.dim) {
            pack<T, 8> x = load_pack<8>(dout.at + token * dout.stride + column);
            pack<T, 8> y = load_pack<8>(o.at + token * o.stride + column);
#pragma unroll
            for (int k = 0; k < 8; k++) sum += to_float(x.at[k]) * to_float(y.at[k]);
        }
#pragma unroll
        for (int offset = LANES / 2; offset; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
        if (lane == 0) w.delta[numbers * w.padded + token] = sum;
    }
    int token = (int)(blockIdx.x * 128 + threadIdx.x), block = token / QUERIES;
    if (threadIdx.x >= 128) return;
    w.lse[numbers * w.padded + token] = token < a.tokens ? w.f.lse[numbers * a.tokens + token] * LOG2_E : INFINITY;
    if (threadIdx.x % QUERIES == 0 && block < w.query_blocks) w.done[numbers * w.query_blocks + block] = 0;
    if (token == 0 && head == 0 && batch == 0) *w.taken = 0;
    if (!a.starts || head) return;
    int start = first_key(a, batch, token);
    w.start[(int64_t)batch * w.padded + token] = start;
    if (threadIdx.x % QUERIES || block >= w.query_blocks) return;
    int2 seen = {start, start};
    for (int i = token + 1; i < token + QUERIES && i < a.tokens; i++) {
        int other = first_key(a, batch, i);
        seen = {min(seen.x, other), max(seen.y, other)};
    }
    w.seen[(int64_t)batch * w.query_blocks + block] = seen;
}

template <typename T, int WIDTH>
__global__ void __launch_bounds__(GRAD_THREADS, 1)
    grad_works(const __grid_constant__ wgmma_backward w, const __grid_constant__ grad_maps maps)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    using tiles = grad_tiles<T, WIDTH>;
    tiles &t = tiles_in_memory<tiles>();
    constexpr int WARPS = 8; // that multiply
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) {
            mbarrier_init(&t.work_full[i], 1);
            mbarrier_init(&t.work_free[i], WARPS + 1);
            mbarrier_init(&t.q_full[i], 1);
            mbarrier_init(&t.q_free[i], WARPS);
            mbarrier_init(&t.dout_full[i], 1);
            mbarrier_init(&t.dout_free[i], WARPS);
            mbarrier_init(&t.ds_full[i], WARPS);
        }
        mbarrier_init(&t.k_full, 1);
        mbarrier_init(&t.v_full, 1);
        mbarrier_init(&t.keys_free, WARPS);
        mbarrier_init(&t.dq_ready, 1);
        mbarrier_init(&t.dq_done, WARPS);
        fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        setmaxnreg_dec<40>();
        if (threadIdx.x == 0) grad_loads(t, w, maps);
        if (threadIdx.x == 32) grad_sums(t, w);
    } else {
        setmaxnreg_inc<232>();
        grad_multiply(t, w);
    }
#else
    __trap();
#endif
}

// Pieces of scratch, one behind the other.
struct pieces {
    char *at;
    int64_t bytes;
    template <typename T> T *take(int64_t count)
    {
        T *p = (T *)(at + bytes);
        bytes += (count * (int64_t)sizeof(T) + 127) / 128 * 128;
        return p;
    }
};

static int64_t lay_out(wgmma_backward &w, int64_t batches, bool segments, void *scratch)
{
    const attention_numbers &a = w.f.a;
    int64_t width = a.dim <= 64 ? 64 : 128, queries = width == 64 ? 128 : 64;
    w.key_blocks = (a.tokens + GRAD_KEYS - 1) / GRAD_KEYS;
    w.query_blocks = (int)((a.tokens + queries - 1) / queries);
    w.padded = w.key_blocks * GRAD_KEYS;
    w.works = (int)(batches * a.kv_heads * w.key_blocks);
    int64_t columns = batches * a.heads;
    pieces p = {(char *)scratch, 0};
    w.sum = p.take<float>(w.key_blocks > 1 ? columns * w.query_blocks * queries * width : 0);
    w.lse = p.take<float>(columns * w.padded);
    w.delta = p.take<float>(columns * w.padded);
    w.done = p.take<int>(columns * w.query_blocks);
    w.start = p.take<int>(segments ? batches * w.padded : 0);
    w.seen = p.take<int2>(segments ? batches * w.query_blocks : 0);
    w.taken = p.take<int>(1);
    return p.bytes;
}

template <typename T, int WIDTH> static bool launch_width(const wgmma_backward &w, int64_t batches, queue *q)
{
    constexpr int QUERIES = GRAD_QUERIES<WIDTH>, BYTES = (int)sizeof(grad_tiles<T, WIDTH>) + 1024;
    static_assert(BYTES <= 227 * 1024);
    const attention_backward &f = w.f;
    constexpr bool HALF = std::is_same_v<T, f16>;
    grad_maps maps;
    if (!map_heads(&maps.q, f.q, f.a, batches, f.a.heads, HALF, QUERIES) ||
        !map_heads(&maps.dout, f.dout, f.a, batches, f.a.heads, HALF, QUERIES) ||
        !map_heads(&maps.k, f.k, f.a, batches, f.a.kv_heads, HALF, GRAD_KEYS) ||
        !map_heads(&maps.v, f.v, f.a, batches, f.a.kv_heads, HALF, GRAD_KEYS))
        return false;
    dim3 begin((unsigned)w.key_blocks, (unsigned)f.a.heads, (unsigned)batches);
    grad_begin<T, WIDTH><<<begin, 256, 0, q->stream>>>(w);
    cudaFuncSetAttribute(grad_works<T, WIDTH>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    int blocks = w.works < q->caps->multiprocessors ? w.works : q->caps->multiprocessors;
    grad_works<T, WIDTH><<<(unsigned)blocks, GRAD_THREADS, BYTES, q->stream>>>(w, maps);
    return true;
}

static status launch(const step *s, queue *q)
{
    wgmma_backward w = {attention_backward_of(s)};
    int64_t batches = s->in[1].shape.dim[0];
    lay_out(w, batches, w.f.a.starts, s->scratch);
    bool half = s->in[0].dtype == INGOT_F16, narrow = w.f.a.dim <= 64;
    bool ran = w.f.o.wide && w.f.dout.wide && w.f.dq.wide && w.f.dk.wide && w.f.dv.wide;
    if (ran && half)
        ran = narrow ? launch_width<f16, 64>(w, batches, q) : launch_width<f16, 128>(w, batches, q);
    else if (ran)
        ran = narrow ? launch_width<bf16, 64>(w, batches, q) : launch_width<bf16, 128>(w, batches, q);
    return ran ? INGOT_OK : attention_grad_by_warps(s, q);
}

static int64_t scratch(const node *n, const device_caps *caps)
{
    shape q = n->in[1]->shape;
    wgmma_backward w = {};
    w.f.a = {
        .tokens = (int)q.dim[1], .heads = (int)q.dim[2], .kv_heads = (int)n->in[2]->shape.dim[2], .dim = (int)q.dim[3]};
    int64_t bytes = lay_out(w, q.dim[0], n->inputs > 6, nullptr), by_warps = attention_backward_scratch(n, caps);
    return bytes > by_warps ? bytes : by_warps;
}

static bool match(const node *n, const device_caps *caps)
{
    int64_t dim = n->in[1]->shape.dim[3];
    return wgmma_runs(caps) && attention_grad_matches(n, caps) && dim > 32 && dim % 8 == 0;
}

extern "C" const kernel_def attention_grad_wgmma_cuda[] = {
    {.op = &op_attention_grad_def,
     .name = "attention_grad.wgmma",
     .level = LEVEL_BEST,
     .traits = KERNEL_WAITS | KERNEL_STRIDED_OUTPUT,
     .match = match,
     .wants = ATTENTION_GRAD_WANTS,
     .scratch = scratch,
     .launch = launch,
     .error = ERROR_SUM},
    {},
};
