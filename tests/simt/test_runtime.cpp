// The harness's own CUDA runtime: memory, streams, graphs, products, texts, refusals.
#include "runtime.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cublasLt.h>
#include <nvrtc.h>
#include <random>
#include <string>
#include <vector>

#define CHECK(c)                                                                                                       \
    do                                                                                                                 \
        if (!(c)) {                                                                                                    \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #c);                                                             \
            exit(1);                                                                                                   \
        }                                                                                                              \
    while (0)
#define OK(call) CHECK((call) == 0)

static cudaStream_t stream;

template <class T> static T *device_array(size_t count)
{
    void *at = nullptr;
    OK(cudaMalloc(&at, count * sizeof(T)));
    return (T *)at;
}

static void test_memory()
{
    size_t before, after, total;
    OK(cudaMemGetInfo(&before, &total));
    float *x = device_array<float>(1000), *y = device_array<float>(1000), host[1000];
    OK(cudaMemGetInfo(&after, &total));
    CHECK(before - after == 8000 && (uintptr_t)x % 256 == 0);
    OK(cudaMemcpy(host, x, sizeof host, cudaMemcpyDeviceToHost));
    CHECK(std::isnan(host[0]) && std::isnan(host[999]));
    for (int i = 0; i < 1000; i++) host[i] = (float)i;
    OK(cudaMemcpyAsync(x, host, sizeof host, cudaMemcpyHostToDevice, stream));
    memset(host, 0, sizeof host); // what was pageable has been read
    OK(cudaMemcpyAsync(y, x, sizeof host, cudaMemcpyDeviceToDevice, stream));
    OK(cudaMemsetAsync(y, 0, 40, stream));
    OK(cudaMemcpyAsync(host, y, sizeof host, cudaMemcpyDeviceToHost, stream));
    CHECK(host[9] == 0 && host[10] == 10 && host[999] == 999);
    CHECK(cudaMemcpyAsync(x, host, 4001, cudaMemcpyHostToDevice, stream) == cudaErrorInvalidValue);
    CHECK(cudaMemcpyAsync(host, host, 4, cudaMemcpyHostToDevice, stream) == cudaErrorInvalidValue);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
    void *most = nullptr;
    CHECK(cudaMalloc(&most, total) == cudaErrorMemoryAllocation);
    CHECK(!strcmp(cudaGetErrorString(cudaGetLastError()), "out of memory"));
    OK(cudaFree(x));
    OK(cudaFree(y));
    OK(cudaMemGetInfo(&after, &total));
    CHECK(after == before);
}

static void test_events()
{
    cudaEvent_t a, b;
    cudaStream_t other;
    float ms = -1;
    int seen = 0;
    OK(cudaEventCreate(&a));
    OK(cudaEventCreate(&b));
    OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    OK(cudaEventQuery(a));
    CHECK(cudaEventElapsedTime(&ms, a, b) == cudaErrorInvalidResourceHandle);
    for (int i = 0; i < 50; i++) {
        int first = 0;
        OK(cudaEventRecord(a, stream));
        simt::enqueue(
            stream, [&] { first = 1; }, true);
        OK(cudaEventRecord(b, stream));
        OK(cudaStreamWaitEvent(other, b, 0));
        simt::enqueue(
            other, [&] { seen += first; }, true);
        OK(cudaStreamSynchronize(other));
        OK(cudaEventSynchronize(b));
    }
    CHECK(seen == 50);
    OK(cudaEventElapsedTime(&ms, a, b));
    CHECK(ms >= 0);
    OK(cudaEventDestroy(a));
    OK(cudaEventDestroy(b));
    OK(cudaStreamDestroy(other));
    (void)cudaGetLastError();
}

// a, then b and c side by side, then d.
static void test_graph()
{
    std::string ran;
    auto add = [&](char name, bool kernel) {
        auto work = [&ran, name, kernel] {
            if (!kernel) ran += name;
            if (kernel)
                simt::run({{1}, {1}, 0, "add"}, [&ran, name] {
                    simt::wait_for_grids_ahead();
                    ran += name;
                });
        };
        simt::enqueue(stream, work, kernel);
    };
    cudaGraph_t graph, same;
    cudaGraphNode_t first, sides[2];
    cudaStreamCaptureStatus status;
    const cudaGraphNode_t *tips;
    const cudaGraphEdgeData *edges;
    size_t count = 0;
    OK(cudaGraphCreate(&graph, 0));
    auto begin = [&](const cudaGraphNode_t *after, const cudaGraphEdgeData *by, size_t n) {
        OK(cudaStreamBeginCaptureToGraph(stream, graph, after, by, n, cudaStreamCaptureModeThreadLocal));
    };
    auto end = [&](cudaGraphNode_t *tip) {
        OK(cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, &tips, &edges, &count));
        CHECK(status == cudaStreamCaptureStatusActive && count == 1);
        *tip = tips[0];
        OK(cudaStreamEndCapture(stream, &same));
        CHECK(same == graph);
    };
    begin(nullptr, nullptr, 0);
    add('a', true);
    void *none;
    CHECK(cudaMalloc(&none, 4) == cudaErrorStreamCaptureUnsupported);
    end(&first);
    cudaGraphEdgeData within = {};
    within.from_port = cudaGraphKernelNodePortProgrammatic, within.type = cudaGraphDependencyTypeProgrammatic;
    for (int i = 0; i < 2; i++) {
        begin(&first, &within, 1);
        add(i ? 'c' : 'b', true);
        end(&sides[i]);
    }
    begin(sides, nullptr, 2);
    add('d', false);
    cudaGraphNode_t last;
    end(&last);
    CHECK(ran.empty());
    OK(cudaGraphGetNodes(graph, nullptr, &count));
    CHECK(count == 4);
    cudaGraphNodeType type;
    OK(cudaGraphNodeGetType(first, &type));
    CHECK(type == cudaGraphNodeTypeKernel);

    cudaGraphExec_t ready;
    OK(cudaGraphInstantiate(&ready, graph, 0));
    bool swapped = false;
    for (int i = 0; i < 50; i++) {
        ran.clear();
        OK(cudaGraphLaunch(ready, stream));
        OK(cudaStreamSynchronize(stream));
        CHECK(ran == "abcd" || ran == "acbd");
        swapped |= ran == "acbd";
    }
    CHECK(swapped == (getenv("SIMT_SEED") != nullptr));
    // From within what is not a kernel.
    begin(&last, &within, 1);
    add('e', true);
    CHECK(cudaStreamEndCapture(stream, &same) == cudaErrorStreamCaptureInvalidated);
    OK(cudaGraphExecDestroy(ready));
    OK(cudaGraphDestroy(graph));
    (void)cudaGetLastError();
}

// ---- products ----

static std::mt19937 chance(7);

static float some()
{
    return std::uniform_real_distribution<float>(-1, 1)(chance);
}

static float half_of(float x) // nearest bf16 with zeros below
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x8000) & 0xffff0000u;
    memcpy(&x, &bits, 4);
    return x;
}

static std::vector<uint16_t> bf16s(const std::vector<float> &x)
{
    std::vector<uint16_t> out;
    for (float v : x) {
        uint32_t bits;
        memcpy(&bits, &v, 4);
        out.push_back((uint16_t)(bits >> 16));
    }
    return out;
}

struct matrix {
    std::vector<float> host;
    void *at;
    bool wide;
    matrix(size_t count, bool f32) : host(count), wide(f32)
    {
        for (float &x : host) x = half_of(some());
        size_t bytes = count * (wide ? 4 : 2);
        at = device_array<char>(bytes);
        std::vector<uint16_t> narrow = bf16s(host);
        OK(cudaMemcpy(at, wide ? (void *)host.data() : (void *)narrow.data(), bytes, cudaMemcpyHostToDevice));
    }
    ~matrix()
    {
        cudaFree(at);
    }
    float read(size_t i) const
    {
        std::vector<uint32_t> one(1);
        size_t size = wide ? 4 : 2;
        OK(cudaMemcpy(one.data(), (char *)at + i * size, size, cudaMemcpyDeviceToHost));
        if (!wide) one[0] <<= 16;
        float x;
        memcpy(&x, one.data(), 4);
        return x;
    }
};

static double gelu(double x)
{
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

struct product_case {
    int m, n, k, batch;
    bool turn_a, turn_b, wide, adds;
    cublasLtEpilogue_t end;
};

static void test_product(const product_case &t)
{
    cublasLtHandle_t blas;
    cublasLtMatmulDesc_t how;
    cublasLtMatrixLayout_t la, lb, ld;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found[4];
    int count = 0, m = t.m, n = t.n, k = t.k, extra = 8;
    bool has_end = t.end != CUBLASLT_EPILOGUE_DEFAULT;
    cudaDataType type = t.wide ? CUDA_R_32F : CUDA_R_16BF;
    int64_t a_ld = (t.turn_a ? k : m) + extra, b_ld = (t.turn_b ? n : k) + extra, d_ld = m + extra;
    int64_t a_step = a_ld * (t.turn_a ? m : k), b_step = b_ld * (t.turn_b ? k : n), d_step = d_ld * n;
    matrix a((size_t)(a_step * t.batch), t.wide), b((size_t)(b_step * t.batch), t.wide),
        c((size_t)(d_step * t.batch), t.wide), d((size_t)(d_step * t.batch), t.wide), bias((size_t)m, t.wide),
        aux((size_t)(d_ld * n), t.wide);
    OK(cublasLtCreate(&blas));
    OK(cublasLtMatmulDescCreate(&how, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    OK(cublasLtMatrixLayoutCreate(&la, type, (uint64_t)(t.turn_a ? k : m), (uint64_t)(t.turn_a ? m : k), a_ld));
    OK(cublasLtMatrixLayoutCreate(&lb, type, (uint64_t)(t.turn_b ? n : k), (uint64_t)(t.turn_b ? k : n), b_ld));
    OK(cublasLtMatrixLayoutCreate(&ld, type, (uint64_t)m, (uint64_t)n, d_ld));
    cublasLtMatrixLayout_t layouts[] = {la, lb, ld};
    int64_t steps[] = {a_step, b_step, d_step};
    for (int i = 0; i < 3; i++) {
        cublasLtMatrixLayoutSetAttribute(layouts[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &t.batch, sizeof t.batch);
        cublasLtMatrixLayoutSetAttribute(layouts[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &steps[i], 8);
    }
    cublasOperation_t op_a = t.turn_a ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = t.turn_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    OK(cublasLtMatmulDescSetAttribute(how, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    OK(cublasLtMatmulDescSetAttribute(how, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
    OK(cublasLtMatmulDescSetAttribute(how, CUBLASLT_MATMUL_DESC_EPILOGUE, &t.end, sizeof t.end));
    OK(cublasLtMatmulDescSetAttribute(how, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.at, sizeof bias.at));
    OK(cublasLtMatmulDescSetAttribute(how, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &aux.at, sizeof aux.at));
    OK(cublasLtMatmulDescSetAttribute(how, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &d_ld, sizeof d_ld));
    OK(cublasLtMatmulPreferenceCreate(&preference));
    OK(cublasLtMatmulAlgoGetHeuristic(blas, how, la, lb, ld, ld, preference, 4, found, &count));
    CHECK(count >= 1);
    float alpha = 0.5f, beta = t.adds ? 2.0f : 0.0f;
    OK(cublasLtMatmul(blas, how, &alpha, a.at, la, b.at, lb, &beta, t.adds ? c.at : d.at, ld, d.at, ld, &found[0].algo,
                      nullptr, 0, stream));
    OK(cudaStreamSynchronize(stream));
    for (int z = 0; z < t.batch; z++)
        for (int tries = 0; tries < 60; tries++) {
            int i = (int)(chance() % (unsigned)m), j = (int)(chance() % (unsigned)n);
            double sum = 0;
            for (int l = 0; l < k; l++)
                sum += (double)a.host[(size_t)(z * a_step + (t.turn_a ? l + i * a_ld : i + l * a_ld))] *
                       b.host[(size_t)(z * b_step + (t.turn_b ? j + l * b_ld : l + j * b_ld))];
            size_t at = (size_t)(z * d_step + j * d_ld + i);
            double want = alpha * sum + (t.adds ? 2 * (double)c.host[at] : 0);
            if (has_end && t.end != CUBLASLT_EPILOGUE_DGELU) want += bias.host[(size_t)i];
            double tolerance = (t.wide ? 1e-5 : 1e-2) * (1 + std::fabs(want));
            if (t.end == CUBLASLT_EPILOGUE_GELU_AUX_BIAS) CHECK(std::fabs(aux.read(at) - want) <= tolerance);
            double h = aux.host[at];
            if (t.end == CUBLASLT_EPILOGUE_DGELU) want *= (gelu(h + 1e-5) - gelu(h - 1e-5)) / 2e-5;
            if (t.end & CUBLASLT_EPILOGUE_GELU) want = gelu(want);
            if (!(std::fabs(d.read(at) - want) <= tolerance)) {
                printf("(%d, %d) of %dx%dx%d: %g, not %g\n", i, j, m, n, k, d.read(at), want);
                exit(1);
            }
        }
    CHECK(d.read((size_t)m) == d.host[(size_t)m]); // between columns nothing is written
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatmulDescDestroy(how);
    for (cublasLtMatrixLayout_t l : layouts) cublasLtMatrixLayoutDestroy(l);
    cublasLtDestroy(blas);
}

static void test_products()
{
    for (int i = 0; i < 8; i++) {
        bool turn_a = i & 1, turn_b = i & 2, wide = i & 4;
        test_product({67, 35, 129, 1, turn_a, turn_b, wide, false, CUBLASLT_EPILOGUE_DEFAULT});
        test_product({64, 1, 7, 3, turn_a, turn_b, wide, true, CUBLASLT_EPILOGUE_DEFAULT});
    }
    for (cublasLtEpilogue_t end : {CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
                                   CUBLASLT_EPILOGUE_DGELU})
        test_product({72, 40, 64, 1, true, false, false, false, end});
    test_product({520, 200, 300, 1, true, false, false, true, CUBLASLT_EPILOGUE_BIAS});
}

// ---- texts ----

static const char text[] = "typedef unsigned short bits16;\n"
                           "extern \"C\" __global__ void twice(float *y, const float *x, int n)\n"
                           "{\n"
                           "    __shared__ float turned[64];\n"
                           "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                           "    turned[63 - threadIdx.x] = x[i];\n"
                           "    __syncthreads();\n"
                           "    if (i < n) y[i] = 2 * turned[threadIdx.x];\n"
                           "}\n";

static nvrtcResult compile(const char *source, std::vector<char> *cubin, std::string *log)
{
    nvrtcProgram p;
    size_t size = 0;
    const char *options[] = {"--gpu-architecture=sm_80"};
    OK(nvrtcCreateProgram(&p, source, "test.cu", 0, nullptr, nullptr));
    nvrtcResult result = nvrtcCompileProgram(p, 1, options);
    OK(nvrtcGetProgramLogSize(p, &size));
    log->resize(size);
    OK(nvrtcGetProgramLog(p, log->data()));
    if (!result) {
        OK(nvrtcGetCUBINSize(p, &size));
        cubin->resize(size);
        OK(nvrtcGetCUBIN(p, cubin->data()));
    }
    OK(nvrtcDestroyProgram(&p));
    return result;
}

static void test_texts()
{
    std::vector<char> cubin;
    std::string log;
    CHECK(compile("\n\n__global__ void f() { nonsense; }\n", &cubin, &log) == NVRTC_ERROR_COMPILATION);
    CHECK(log.find("test.cu(3): error") != std::string::npos);
    OK(compile(text, &cubin, &log));
    cudaLibrary_t library;
    cudaKernel_t kernel;
    OK(cudaLibraryLoadData(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    CHECK(cudaLibraryGetKernel(&kernel, library, "thrice") == cudaErrorSymbolNotFound);
    OK(cudaLibraryGetKernel(&kernel, library, "twice"));
    float *x = device_array<float>(640), *y = device_array<float>(640), host[640];
    int n = 600;
    for (int i = 0; i < 640; i++) host[i] = (float)i;
    OK(cudaMemcpy(x, host, sizeof host, cudaMemcpyHostToDevice));
    void *arguments[] = {&y, &x, &n};
    OK(cudaLaunchKernel((const void *)kernel, dim3(10), dim3(64), arguments, 0, stream));
    n = 0; // the launch has its own
    OK(cudaMemcpyAsync(host, y, sizeof host, cudaMemcpyDeviceToHost, stream));
    CHECK(host[0] == 126 && host[599] == 2 * (576 + 63 - 23) && std::isnan(host[600]));
    (void)cudaGetLastError();
    auto launch = [&](unsigned blocks, unsigned threads, size_t bytes) {
        cudaError_t e = cudaLaunchKernel((const void *)kernel, dim3(blocks), dim3(threads), arguments, bytes, stream);
        CHECK(e == cudaGetLastError());
        return e;
    };
    CHECK(launch(0, 64, 0) == cudaErrorInvalidConfiguration);
    CHECK(launch(1, 1025, 0) == cudaErrorInvalidConfiguration);
    CHECK(launch(1, 64, 50000) == cudaErrorInvalidValue);
    OK(cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000));
    OK(launch(1, 64, 50000));
    CHECK(cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10) ==
          cudaErrorInvalidValue);
    OK(cudaLibraryUnload(library));
    OK(cudaFree(x));
    OK(cudaFree(y));
    (void)cudaGetLastError();
}

// A fault is an error of what comes after it, for good.
static void test_faults()
{
    int *x = device_array<int>(64);
    simt::run({{1}, {32}, 0, "careful"}, [=] { x[simt::here().thread.x] = 0; });
    simt::enqueue(
        stream,
        [=] {
            simt::run({{8}, {32}, 0, "wild"}, [=] { x[64 + 4096 * simt::here().thread.x] = 1; });
        },
        true);
    CHECK(cudaStreamSynchronize(stream) == cudaErrorIllegalAddress);
    void *more;
    CHECK(cudaMalloc(&more, 4) == cudaErrorIllegalAddress && cudaGetLastError() == cudaErrorIllegalAddress);
}

int main()
{
    setvbuf(stdout, nullptr, _IOLBF, 0);
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    test_memory();
    test_events();
    test_graph();
    test_products();
    test_texts();
    test_faults();
    puts("the runtime's tests pass");
    quick_exit(0); // threads of the device stand where they fell
}
