// Products as cuBLASLt describes them, by plain loops: D = end(alpha op(A) op(B) + beta C), matrices by columns, sums in float32;
// long ones in parts that are rounded to the type of D, where the caller does not forbid that.
//
// What is asked for is checked as the library's documentation has it. Its workspace is overwritten, and C is not read where
// beta is 0: both show in tests whose memory is poisoned.
#include "runtime.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <cublasLt.h>
#include <thread>
#include <vector>

namespace
{

struct layout {
    cudaDataType type;
    uint64_t rows, cols;
    int64_t ld, step;
    int32_t count;
};

struct description {
    cublasComputeType_t compute;
    cublasOperation_t a, b;
    cublasLtEpilogue_t end;
    const void *bias;
    void *aux;
    int64_t aux_ld;
    cudaDataType bias_type;
    bool has_bias_type;
};

struct preference {
    uint64_t workspace;
    uint32_t schemes; // of sums in parts that are allowed
};

struct algorithm {
    int64_t parts; // of a sum; rounded to D's type where there are more than one
};

template <class Inner, class Outer> Inner &inside(Outer *opaque)
{
    static_assert(sizeof(Inner) <= sizeof *opaque);
    return *reinterpret_cast<Inner *>(opaque->data);
}

layout &of(cublasLtMatrixLayout_t l)
{
    return inside<layout>(l);
}

description &of(cublasLtMatmulDesc_t d)
{
    return inside<description>(d);
}

template <class T> cublasStatus_t set(T &to, const void *from, size_t bytes)
{
    if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&to, from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

// ---- numbers ----

float of_bf16(uint16_t h)
{
    return std::bit_cast<float>((uint32_t)h << 16);
}

uint16_t to_bf16(float x)
{
    uint32_t bits = std::bit_cast<uint32_t>(x);
    return std::isnan(x) ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float of_f16(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? std::ldexp(1024.0f + (float)fraction, exponent - 25)
                                : std::ldexp((float)fraction, -24);
    return h >> 15 ? -size : size;
}

uint16_t to_f16(float x)
{
    uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    float size = std::fabs(x);
    if (std::isnan(x)) return 0x7fff;
    if (size >= 65520) return sign | 0x7c00;
    int exponent = std::max(size > 0 ? std::ilogb(size) : -14, -14);
    int steps = (int)std::nearbyint(std::ldexp(size, 10 - exponent)); // 2048 carries into the exponent
    return (uint16_t)(sign | (((exponent + 14) << 10) + steps));
}

float tf32(float x)
{
    return std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0x1000) & ~0x1fffu);
}

size_t size_of(cudaDataType t)
{
    return t == CUDA_R_32F ? 4 : 2;
}

const float *halves() // every float16
{
    static const std::vector<float> all = [] {
        std::vector<float> v(65536);
        for (size_t i = 0; i < v.size(); i++) v[i] = of_f16((uint16_t)i);
        return v;
    }();
    return all.data();
}

float get(const void *from, cudaDataType t, int64_t i)
{
    if (t == CUDA_R_32F) return ((const float *)from)[i];
    uint16_t h = ((const uint16_t *)from)[i];
    return t == CUDA_R_16BF ? of_bf16(h) : halves()[h];
}

void put(void *to, cudaDataType t, int64_t i, float x)
{
    if (t == CUDA_R_32F)
        ((float *)to)[i] = x;
    else
        ((uint16_t *)to)[i] = t == CUDA_R_16BF ? to_bf16(x) : to_f16(x);
}

float rounded(float x, cudaDataType t)
{
    alignas(4) char bytes[4];
    put(bytes, t, 0, x);
    return get(bytes, t, 0);
}

float gelu(float x)
{
    return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
}

float gelu_slope(float x)
{
    float t = std::tanh(0.7978845608f * (x + 0.044715f * x * x * x));
    return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.7978845608f * (1 + 0.134145f * x * x);
}

// ---- the product ----

struct product {
    description how;
    layout a, b, c, d;
    const char *at_a, *at_b, *at_c;
    char *at_d, *workspace;
    size_t workspace_bytes;
    float alpha, beta;
    int64_t m, n, k, parts;
};

enum { DOWN = 64, ACROSS = 4 }; // of D, at a time: four vectors of rows by four columns
typedef float vector __attribute__((vector_size(64)));

// Rows [first, first + DOWN) of op(A), by k; rows beyond m are zeros.
void pack_a(const product &p, int64_t batch, int64_t first, float *to)
{
    const void *from = p.at_a + batch * p.a.step * (int64_t)size_of(p.a.type);
    int64_t row = p.how.a == CUBLAS_OP_N ? 1 : p.a.ld, col = p.how.a == CUBLAS_OP_N ? p.a.ld : 1;
    bool narrow = p.how.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    for (int64_t k = 0; k < p.k; k++)
        for (int64_t i = 0; i < DOWN; i++) {
            float x = first + i < p.m ? get(from, p.a.type, (first + i) * row + k * col) : 0;
            to[k * DOWN + i] = narrow ? tf32(x) : x;
        }
}

// Columns [first, first + ACROSS) of op(B), by k.
void pack_b(const product &p, int64_t batch, int64_t first, float *to)
{
    const void *from = p.at_b + batch * p.b.step * (int64_t)size_of(p.b.type);
    int64_t row = p.how.b == CUBLAS_OP_N ? 1 : p.b.ld, col = p.how.b == CUBLAS_OP_N ? p.b.ld : 1;
    bool narrow = p.how.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    for (int64_t j = 0; j < ACROSS; j++)
        for (int64_t k = 0; k < p.k; k++) {
            float x = first + j < p.n ? get(from, p.b.type, k * row + (first + j) * col) : 0;
            to[k * ACROSS + j] = narrow ? tf32(x) : x;
        }
}

void multiply(int64_t k, const float *a, const float *b, float *out)
{
    vector sum[ACROSS][DOWN / 16] = {};
    for (; k > 0; k--, a += DOWN, b += ACROSS)
        for (int j = 0; j < ACROSS; j++)
            for (int i = 0; i < DOWN / 16; i++) sum[j][i] += *(const vector *)(a + 16 * i) * b[j];
    memcpy(out, sum, sizeof sum);
}

// A sum whose parts are rounded to D's type before they are added up: what is lost where they cancel is a caller's to forbid.
void multiply_in_parts(const product &p, const float *a, const float *b, float *tile)
{
    alignas(64) float part[ACROSS * DOWN];
    int64_t step = (p.k + p.parts - 1) / p.parts;
    std::fill(tile, tile + ACROSS * DOWN, 0.0f);
    for (int64_t k = 0; k < p.k; k += step) {
        multiply(std::min(step, p.k - k), a + k * DOWN, b + k * ACROSS, part);
        for (int i = 0; i < ACROSS * DOWN; i++) tile[i] += rounded(part[i], p.d.type);
    }
}

float end_of(const product &p, int64_t row, int64_t col, float x)
{
    const description &how = p.how;
    int64_t at = col * how.aux_ld + row;
    bool has_bias = how.end != CUBLASLT_EPILOGUE_DEFAULT && how.end != CUBLASLT_EPILOGUE_DGELU;
    if (has_bias) x += get(how.bias, how.has_bias_type ? how.bias_type : p.d.type, row);
    switch (how.end) {
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS: put(how.aux, p.d.type, at, x); return gelu(x);
    case CUBLASLT_EPILOGUE_GELU_BIAS: return gelu(x);
    case CUBLASLT_EPILOGUE_DGELU: return x * gelu_slope(get(how.aux, p.d.type, at));
    default: return x;
    }
}

void write_tile(const product &p, int64_t batch, int64_t row, int64_t col, const float *tile)
{
    for (int64_t j = 0; j < std::min<int64_t>(ACROSS, p.n - col); j++)
        for (int64_t i = 0; i < std::min<int64_t>(DOWN, p.m - row); i++) {
            int64_t at_c = batch * p.c.step + (col + j) * p.c.ld + row + i;
            int64_t at_d = batch * p.d.step + (col + j) * p.d.ld + row + i;
            float x = p.alpha * tile[j * DOWN + i];
            if (p.beta != 0) x += p.beta * get(p.at_c, p.c.type, at_c);
            put(p.at_d, p.d.type, at_d, end_of(p, row + i, col + j, x));
        }
}

// Tiles of rows in turn, by two threads.
void run_part(const product &p, const std::vector<vector> &packed, int64_t batch, int64_t part, int64_t parts)
{
    std::vector<vector> a((size_t)p.k * DOWN / 16);
    alignas(64) float tile[ACROSS * DOWN];
    for (int64_t row = part * DOWN; row < p.m; row += parts * DOWN) {
        pack_a(p, batch, row, (float *)a.data());
        for (int64_t col = 0; col < p.n; col += ACROSS) {
            const float *left = (const float *)a.data(), *right = (const float *)packed.data() + col * p.k;
            if (p.parts > 1)
                multiply_in_parts(p, left, right, tile);
            else
                multiply(p.k, left, right, tile);
            write_tile(p, batch, row, col, tile);
        }
    }
}

void run_product(const product &p)
{
    memset(p.workspace, 0xff, std::min(p.workspace_bytes, (size_t)1 << 20));
    std::vector<vector> packed((size_t)((p.n + ACROSS - 1) / ACROSS * ACROSS * p.k + 15) / 16);
    bool two = (double)p.m * (double)p.n * (double)p.k > 4e6;
    for (int64_t batch = 0; batch < p.d.count; batch++) {
        for (int64_t col = 0; col < p.n; col += ACROSS) pack_b(p, batch, col, (float *)packed.data() + col * p.k);
        std::thread other;
        if (two) other = std::thread([&] { run_part(p, packed, batch, 1, 2); });
        run_part(p, packed, batch, 0, two ? 2 : 1);
        if (two) other.join();
    }
}

// ---- what is taken ----

bool is_layout(const layout &l)
{
    return l.rows && l.cols && l.ld >= (int64_t)l.rows && l.count >= 1;
}

bool is_type(cudaDataType t)
{
    return t == CUDA_R_32F || t == CUDA_R_16BF || t == CUDA_R_16F;
}

cublasStatus_t describe(product &p)
{
    const layout &a = p.a, &b = p.b, &c = p.c, &d = p.d;
    bool turn_a = p.how.a == CUBLAS_OP_T, turn_b = p.how.b == CUBLAS_OP_T;
    p.m = (int64_t)(turn_a ? a.cols : a.rows), p.k = (int64_t)(turn_a ? a.rows : a.cols);
    p.n = (int64_t)(turn_b ? b.rows : b.cols);
    if (!is_layout(a) || !is_layout(b) || !is_layout(c) || !is_layout(d) || (turn_b ? b.cols : b.rows) != (uint64_t)p.k)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (const layout *l : {&c, &d})
        if (l->rows != (uint64_t)p.m || l->cols != (uint64_t)p.n) return CUBLAS_STATUS_INVALID_VALUE;
    if (a.count != d.count || b.count != d.count || c.count != d.count) return CUBLAS_STATUS_INVALID_VALUE;
    if (!is_type(a.type) || a.type != b.type || c.type != d.type || (d.type != a.type && d.type != CUDA_R_32F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    bool has_aux = p.how.end == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || p.how.end == CUBLASLT_EPILOGUE_DGELU;
    bool has_end = has_aux || p.how.end == CUBLASLT_EPILOGUE_BIAS || p.how.end == CUBLASLT_EPILOGUE_GELU_BIAS;
    if (!has_end && p.how.end != CUBLASLT_EPILOGUE_DEFAULT) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (has_aux && (p.how.aux_ld < p.m || p.how.aux_ld % 8)) return CUBLAS_STATUS_INVALID_VALUE;
    if (has_end && p.how.has_bias_type && p.how.bias_type != d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    bool tf32 = p.how.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    return p.how.compute == CUBLAS_COMPUTE_32F || (tf32 && a.type == CUDA_R_32F) ? CUBLAS_STATUS_SUCCESS
                                                                                 : CUBLAS_STATUS_NOT_SUPPORTED;
}

// The library sums in parts where a sum is long; in which type the parts are kept is up to it unless the caller says so.
int64_t parts_of(const product &p, uint32_t schemes)
{
    enum { LONG_SUM = 128, PARTS = 4 };
    bool rounds = schemes & (CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE);
    return rounds && p.k >= LONG_SUM ? PARTS : 1;
}

// Pointers begin at multiples of their elements; those of ends, of 16 bytes.
bool is_placed(const product &p)
{
    auto fits = [](const void *at, size_t align) { return (uintptr_t)at % align == 0; };
    bool has_aux = p.how.end == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || p.how.end == CUBLASLT_EPILOGUE_DGELU;
    bool has_bias = p.how.end != CUBLASLT_EPILOGUE_DEFAULT && p.how.end != CUBLASLT_EPILOGUE_DGELU;
    return p.at_a && p.at_b && p.at_d && (p.at_c || p.beta == 0) && fits(p.at_a, size_of(p.a.type)) &&
           fits(p.at_b, size_of(p.b.type)) && fits(p.at_d, size_of(p.d.type)) && fits(p.workspace, 256) &&
           (!has_bias || p.how.bias) && (!has_aux || (p.how.aux && fits(p.how.aux, 16)));
}

} // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    *out = (cublasLtHandle_t)malloc(1);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t s)
{
    return s == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
           : s == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
                                              : "CUBLAS_STATUS_NOT_SUPPORTED";
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    *out = new cublasLtMatrixLayoutOpaque_t;
    of(*out) = {type, rows, cols, ld, 0, 1};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete l;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t which,
                                                const void *value, size_t bytes)
{
    switch (which) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(of(l).count, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(of(l).step, value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute, cudaDataType_t scale)
{
    *out = new cublasLtMatmulDescOpaque_t;
    of(*out) = {compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, nullptr, 0, CUDA_R_32F, false};
    return scale == CUDA_R_32F ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    delete d;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which,
                                              const void *value, size_t bytes)
{
    description &how = of(d);
    switch (which) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(how.a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(how.b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(how.end, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(how.bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return set(how.aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return set(how.aux_ld, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: how.has_bias_type = true; return set(how.bias_type, value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    *out = new cublasLtMatmulPreferenceOpaque_t;
    inside<preference>(*out) = {0, CUBLASLT_REDUCTION_SCHEME_MASK};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t which, const void *value,
                                                    size_t bytes)
{
    uint32_t align;
    switch (which) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(inside<preference>(p).workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(inside<preference>(p).schemes, value, bytes);
    default: return set(align, value, bytes); // of a pointer: any will do
    }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t how, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t with, int wanted,
                                              cublasLtMatmulHeuristicResult_t *found, int *count)
{
    product p = {.how = of(how), .a = of(a), .b = of(b), .c = of(c), .d = of(d)};
    *count = 0;
    cublasStatus_t s = describe(p);
    if (s || wanted < 1) return s ? s : CUBLAS_STATUS_INVALID_VALUE;
    found[0] = {};
    found[0].workspaceSize = std::min<size_t>(inside<preference>(with).workspace, 1 << 20);
    inside<algorithm>(&found[0].algo).parts = parts_of(p, inside<preference>(with).schemes);
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *,
                                                    cublasLtMatmulAlgoConfigAttributes_t which, void *value,
                                                    size_t bytes, size_t *written)
{
    uint32_t tile = CUBLASLT_MATMUL_TILE_64x64;
    if (which != CUBLASLT_ALGO_CONFIG_TILE_ID || bytes != sizeof tile) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(value, &tile, *written = bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t how, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *how_to, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream)
{
    product p = {.how = of(how), .a = of(a_layout), .b = of(b_layout), .c = of(c_layout), .d = of(d_layout)};
    p.at_a = (const char *)a, p.at_b = (const char *)b, p.at_c = (const char *)c, p.at_d = (char *)d;
    p.workspace = (char *)workspace, p.workspace_bytes = workspace ? workspace_bytes : 0;
    p.parts = how_to ? inside<const algorithm>(how_to).parts : 1;
    p.alpha = *(const float *)alpha, p.beta = *(const float *)beta;
    cublasStatus_t s = describe(p);
    if (s || !is_placed(p)) return s ? s : CUBLAS_STATUS_INVALID_VALUE;
    simt::enqueue(
        stream, [p] { run_product(p); }, true);
    return CUBLAS_STATUS_SUCCESS;
}
