// Texts of device code, compiled by the host's compiler. The "cubin" is a shared library behind a kernel_image.
//
// The few lines of PTX that texts have are replaced by calls. What was compiled is kept in SIMT_KEPT, a folder of the build,
// under the hash of all that it depends on: `ingot check` compiles hundreds.
#include "kernels.h"
#include "simt.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nvrtc.h>
#include <regex>
#include <sstream>
#include <string>
#include <unistd.h>

#if !defined SIMT_COMPILER || !defined SIMT_INCLUDE || !defined SIMT_KEPT
#error "cmake/simt.cmake says with what texts are compiled, and where they are kept"
#endif

namespace files = std::filesystem;

struct _nvrtcProgram {
    std::string source, name, log, cubin;
};

namespace
{

struct replacement {
    const char *ptx, *call;
};

const replacement replacements[] = {
    {"asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(bits) : \"f\"(x));", "bits = simt_bf16(x);"},
    {"asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(bits) : \"f\"(x));", "bits = simt_f16(x);"},
    {"asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(x) : \"h\"(bits));", "x = simt_of_f16(bits);"},
    {"#if __CUDA_ARCH__ >= 900\n    asm volatile(\"griddepcontrol.launch_dependents;\" ::: \"memory\");\n"
     "    asm volatile(\"griddepcontrol.wait;\" ::: \"memory\");\n#endif\n",
     "    simt_hooks->wait_for_grids_ahead();\n"},
};

std::string read_file(const files::path &path)
{
    std::ostringstream all;
    all << std::ifstream(path, std::ios::binary).rdbuf();
    return all.str();
}

std::string host_source(const _nvrtcProgram &p)
{
    std::string text = "#line 1 \"" + p.name + "\"\n" + p.source;
    for (const replacement &r : replacements)
        for (size_t at; (at = text.find(r.ptx)) != std::string::npos;)
            text.replace(at, std::string(r.ptx).size(), r.call);
    const std::regex kernel("__global__\\s+void\\s+(?:__launch_bounds__\\([^)]*\\)\\s*)?(\\w+)\\s*\\(");
    std::string binders;
    for (std::sregex_iterator i(text.begin(), text.end(), kernel), end; i != end; ++i) {
        std::string name = (*i)[1];
        binders += "extern \"C\" simt::kernel_call *simt_bind_" + name +
                   "(void **arguments)\n{\n    return simt_bind(" + name + ", arguments);\n}\n";
    }
    return text + "\n#line 1 \"binders\"\n" + binders;
}

// FNV-1a.
std::string hash_of(const std::string &text)
{
    unsigned long long h = 0xcbf29ce484222325;
    for (unsigned char c : text) h = (h ^ c) * 0x100000001b3;
    char name[20];
    snprintf(name, sizeof name, "%016llx", h);
    return name;
}

// "file:3:5: error: .." as nvcc says it: "file(3): error: ..".
std::string words_of(const std::string &log)
{
    return std::regex_replace(log, std::regex("([^\\s:]+):(\\d+):\\d+:"), "$1($2):");
}

// Into a file of its own, then renamed: other processes may do the same.
bool compile(const std::string &text, const std::string &command, const files::path &to, std::string &log)
{
    files::create_directories(to.parent_path());
    files::path mine = to;
    mine += "." + std::to_string(getpid());
    files::path source = mine, words = mine;
    source += ".cpp", words += ".log";
    std::ofstream(source, std::ios::binary) << text;
    std::string all = command + " -o '" + mine.string() + "' '" + source.string() + "' 2>'" + words.string() + "'";
    bool good = system(all.c_str()) == 0;
    log = words_of(read_file(words));
    if (good) files::rename(mine, to);
    files::remove(source);
    files::remove(words);
    return good;
}

} // namespace

namespace simt
{

const kernel_hooks hooks_of_kernels = {[]() -> const void * { return &here(); }, wait_for_block, dynamic_shared,
                                       wait_for_grids_ahead};

} // namespace simt

// A version that NVRTC never has: who keeps what was compiled must not take one for the other.
nvrtcResult nvrtcVersion(int *major, int *minor)
{
    *major = 0, *minor = (int)(std::hash<std::string>()(read_file(SIMT_INCLUDE "/nvrtc_device.h") +
                                                        read_file(SIMT_INCLUDE "/kernels.h")) %
                               1000000);
    return NVRTC_SUCCESS;
}

const char *nvrtcGetErrorString(nvrtcResult result)
{
    return result == NVRTC_SUCCESS             ? "NVRTC_SUCCESS"
           : result == NVRTC_ERROR_COMPILATION ? "NVRTC_ERROR_COMPILATION"
                                               : "NVRTC_ERROR unknown";
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram *out, const char *source, const char *name, int, const char *const *,
                               const char *const *)
{
    *out = new _nvrtcProgram{source, name, "", ""};
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *p)
{
    delete *p;
    *p = nullptr;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram p, int count, const char *const *options)
{
    std::string include = SIMT_INCLUDE, header = include + "/nvrtc_device.h", text = host_source(*p), arch = "800";
    for (int i = 0; i < count; i++)
        if (const char *sm = strstr(options[i], "sm_"))
            if (text.find("__CUDA_ARCH__") != std::string::npos) arch = std::string(sm + 3) + "0";
    std::string command =
        "exec " SIMT_COMPILER " -std=c++20 -O1 -w -fPIC -shared -D__CUDA_ARCH__=" + arch + " -include '" + header + "'";
    std::string depends = command + read_file(header) + read_file(include + "/kernels.h") + text;
    files::path kept = files::path(SIMT_KEPT) / (hash_of(depends) + ".so");
    if (!files::exists(kept) && !compile(text, command, kept, p->log)) return NVRTC_ERROR_COMPILATION;
    std::string bytes = read_file(kept);
    simt::kernel_image head = {simt::KERNEL_IMAGE, bytes.size()};
    p->cubin.assign((const char *)&head, sizeof head);
    p->cubin += bytes;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram p, size_t *size)
{
    *size = p->log.size() + 1;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram p, char *log)
{
    memcpy(log, p->log.c_str(), p->log.size() + 1);
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram p, size_t *size)
{
    *size = p->cubin.size();
    return p->cubin.empty() ? NVRTC_ERROR_INVALID_PROGRAM : NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram p, char *cubin)
{
    memcpy(cubin, p->cubin.data(), p->cubin.size());
    return NVRTC_SUCCESS;
}
