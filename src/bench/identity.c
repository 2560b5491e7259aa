/* Reading /proc/cpuinfo and sysctl lines; the tables are cpu_parts.def. */
#include "bench/identity.h"

#include <stdio.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

typedef struct x86_part {
    const char *vendor;
    long family, first_model, last_model, first_stepping, last_stepping;
    const char *name;
} x86_part;

typedef struct arm_part {
    long implementer, part;
    const char *core, *amazon, *name;
} arm_part;

static const x86_part x86_parts[] = {
#define X86(...) {__VA_ARGS__},
#define ARM(...)
#include "bench/cpu_parts.def"
#undef X86
#undef ARM
};

static const arm_part arm_parts[] = {
#define X86(...)
#define ARM(...) {__VA_ARGS__},
#include "bench/cpu_parts.def"
#undef X86
#undef ARM
};

/* Flags that a kernel may be chosen by, x86's and then Arm's, as Linux spells them. */
static const char *const isa_flags[] = {
    "sse4_2",   "avx",         "avx2",        "fma",         "f16c",     "avx_vnni", "avx512f",  "avx512bw", "avx512vl",
    "avx512dq", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd",    "asimdhp",
    "asimddp",  "bf16",        "i8mm",        "sve",         "sve2",     "svebf16",  "sme",      "sme2"};

/* The value of "key : value" on the first line that begins with the key; false when there is none. */
static bool find_value(const char *text, const char *key, char *out, size_t size)
{
    size_t length = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        if (strncmp(line, key, length)) continue;
        const char *at = line + length + strspn(line + length, " \t");
        if (*at != ':') continue;
        at++;
        at += strspn(at, " \t");
        snprintf(out, size, "%.*s", (int)MIN(strcspn(at, "\n"), size - 1), at);
        return true;
    }
    return false;
}

static long find_number(const char *text, const char *key, long otherwise)
{
    char value[64];
    return find_value(text, key, value, sizeof value) ? strtol(value, NULL, 0) : otherwise;
}

static int count_lines(const char *text, const char *key)
{
    int count = 0;
    size_t length = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        count += !strncmp(line, key, length);
    return count;
}

static bool has_word(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += length)
        if ((at == words || at[-1] == ' ') && (!at[length] || at[length] == ' ')) return true;
    return false;
}

static void keep_isa(const char *flags, cpu_identity *out)
{
    size_t used = 0;
    for (size_t i = 0; i < COUNT(isa_flags); i++) {
        size_t length = strlen(isa_flags[i]);
        if (!has_word(flags, isa_flags[i]) || used + length + 2 > sizeof out->isa) continue;
        if (used) out->isa[used++] = ' ';
        memcpy(out->isa + used, isa_flags[i], length + 1);
        used += length;
    }
}

static void name_x86(const char *text, cpu_identity *out)
{
    char vendor[64] = "", flags[8192] = "";
    find_value(text, "vendor_id", vendor, sizeof vendor);
    if (find_value(text, "flags", flags, sizeof flags)) keep_isa(flags, out);
    long family = find_number(text, "cpu family", -1), model = find_number(text, "model", -1),
         stepping = find_number(text, "stepping", 0);
    for (size_t i = 0; i < COUNT(x86_parts); i++) {
        const x86_part *p = &x86_parts[i];
        if (strcmp(p->vendor, vendor) || family != p->family || model < p->first_model || model > p->last_model ||
            stepping < p->first_stepping || stepping > p->last_stepping)
            continue;
        snprintf(out->family, sizeof out->family, "%s", p->name);
        break;
    }
    long cores = find_number(text, "cpu cores", 0), siblings = find_number(text, "siblings", 0);
    if (cores > 0 && siblings >= cores) out->cores = (int)(out->logical * cores / siblings);
}

static void name_arm(const char *text, const char *vendor, cpu_identity *out)
{
    char flags[2048] = "";
    if (find_value(text, "Features", flags, sizeof flags)) keep_isa(flags, out);
    long implementer = find_number(text, "CPU implementer", -1), part = find_number(text, "CPU part", -1);
    bool amazon = vendor && !strncmp(vendor, "Amazon", 6);
    for (size_t i = 0; i < COUNT(arm_parts); i++) {
        const arm_part *p = &arm_parts[i];
        if (p->implementer != implementer || p->part != part) continue;
        const char *name = amazon ? p->amazon : p->name;
        if (*name)
            snprintf(out->family, sizeof out->family, "%s (%s)", name, p->core);
        else
            snprintf(out->family, sizeof out->family, "%s", p->core);
        break;
    }
    out->cores = out->logical; /* none of these runs two threads a core */
}

void identity_parse_cpuinfo(const char *text, const char *vendor, cpu_identity *out)
{
    *out = (cpu_identity){.family = "unknown"};
    out->logical = count_lines(text, "processor");
    if (find_value(text, "CPU implementer", out->name, sizeof out->name))
        name_arm(text, vendor, out);
    else
        name_x86(text, out);
    if (!find_value(text, "model name", out->name, sizeof out->name))
        snprintf(out->name, sizeof out->name, "%s", out->family);
}

void identity_parse_sysctl(const char *text, cpu_identity *out)
{
    static const struct {
        const char *key, *flag;
    } features[] = {{"hw.optional.AdvSIMD", "asimd"},
                    {"hw.optional.arm.FEAT_FP16", "asimdhp"},
                    {"hw.optional.arm.FEAT_DotProd", "asimddp"},
                    {"hw.optional.arm.FEAT_BF16", "bf16"},
                    {"hw.optional.arm.FEAT_I8MM", "i8mm"},
                    {"hw.optional.arm.FEAT_SME", "sme"},
                    {"hw.optional.arm.FEAT_SME2", "sme2"},
                    {"hw.optional.avx2_0", "avx2"},
                    {"hw.optional.avx512f", "avx512f"}};
    *out = (cpu_identity){.family = "unknown"};
    char flags[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < COUNT(features); i++)
        if (find_number(text, features[i].key, 0) > 0)
            used += (size_t)snprintf(flags + used, sizeof flags - used, "%s ", features[i].flag);
    keep_isa(flags, out);
    if (find_value(text, "machdep.cpu.brand_string", out->name, sizeof out->name) && !strncmp(out->name, "Apple M", 7))
        snprintf(out->family, sizeof out->family, "%.60s", out->name);
    out->logical = (int)find_number(text, "hw.logicalcpu", 0);
    out->cores = (int)find_number(text, "hw.physicalcpu", 0);
    out->fast_cores = (int)find_number(text, "hw.perflevel0.physicalcpu", 0);
    if (out->fast_cores == out->cores) out->fast_cores = 0;
    out->l1_bytes = find_number(text, "hw.perflevel0.l1dcachesize", find_number(text, "hw.l1dcachesize", 0));
    out->l2_bytes = find_number(text, "hw.perflevel0.l2cachesize", find_number(text, "hw.l2cachesize", 0));
    out->memory_bytes = (uint64_t)find_number(text, "hw.memsize", 0);
}

#ifdef __APPLE__
void identity_here(cpu_identity *out)
{
    static const char *const numbers[] = {"hw.logicalcpu",
                                          "hw.physicalcpu",
                                          "hw.perflevel0.physicalcpu",
                                          "hw.perflevel0.l1dcachesize",
                                          "hw.l1dcachesize",
                                          "hw.perflevel0.l2cachesize",
                                          "hw.l2cachesize",
                                          "hw.memsize",
                                          "hw.optional.AdvSIMD",
                                          "hw.optional.arm.FEAT_FP16",
                                          "hw.optional.arm.FEAT_DotProd",
                                          "hw.optional.arm.FEAT_BF16",
                                          "hw.optional.arm.FEAT_I8MM",
                                          "hw.optional.arm.FEAT_SME",
                                          "hw.optional.arm.FEAT_SME2",
                                          "hw.optional.avx2_0",
                                          "hw.optional.avx512f"};
    text lines = {0};
    char brand[128] = "";
    size_t size = sizeof brand;
    if (!sysctlbyname("machdep.cpu.brand_string", brand, &size, NULL, 0))
        text_printf(&lines, "machdep.cpu.brand_string: %s\n", brand);
    for (size_t i = 0; i < COUNT(numbers); i++) {
        int64_t value = 0;
        size = sizeof value;
        if (!sysctlbyname(numbers[i], &value, &size, NULL, 0))
            text_printf(&lines, "%s: %lld\n", numbers[i], (long long)value);
    }
    identity_parse_sysctl(lines.at ? lines.at : "", out);
    text_free(&lines);
}
#else
static void read_text(const char *path, text *out)
{
    FILE *file = fopen(path, "r");
    if (!file) return;
    char part[4096];
    size_t got;
    while ((got = fread(part, 1, sizeof part, file)) > 0 && out->length < (4 << 20)) text_add(out, part, got);
    fclose(file);
}

void identity_here(cpu_identity *out)
{
    text info = {0}, vendor = {0};
    read_text("/proc/cpuinfo", &info);
    read_text("/sys/devices/virtual/dmi/id/sys_vendor", &vendor);
    identity_parse_cpuinfo(info.at ? info.at : "", vendor.at, out);
    text_free(&info);
    text_free(&vendor);
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE), logical = sysconf(_SC_NPROCESSORS_ONLN);
    if (pages > 0 && size > 0) out->memory_bytes = (uint64_t)pages * (uint64_t)size;
    if (!out->logical && logical > 0) out->logical = (int)logical;
}
#endif
