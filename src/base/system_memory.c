/* Linux: /proc, cgroups and the address-space limit; macOS: Mach's counters. */
#define _GNU_SOURCE
#include "base/system_memory.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__APPLE__)
#include <mach/mach.h>

uint64_t memory_available(void)
{
    vm_statistics64_data_t v;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&v, &count)) return UINT64_MAX;
    return ((uint64_t)v.free_count + v.inactive_count + v.purgeable_count) * (uint64_t)getpagesize();
}

uint64_t memory_resident(void)
{
    mach_task_basic_info_data_t info;
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &count)) return 0;
    return info.resident_size;
}

#else

/* The number behind `key` in a file of "key: number" lines, or the file's first number for "". */
static bool read_number(const char *path, const char *key, uint64_t *out)
{
    FILE *f = fopen(path, "re");
    if (!f) return false;
    char line[256];
    bool found = false;
    size_t length = strlen(key);
    while (!found && fgets(line, sizeof line, f))
        found = !strncmp(line, key, length) && sscanf(line + length, " %lu", out) == 1;
    fclose(f);
    return found;
}

/* What a cgroup leaves; pages of files that it counts can be dropped. */
static uint64_t left_of(const char *folder, const char *limit_file, const char *used_file, const char *cache_key)
{
    char path[128];
    uint64_t limit, used, cache = 0;
    snprintf(path, sizeof path, "%s/%s", folder, limit_file);
    if (!read_number(path, "", &limit)) return UINT64_MAX;
    snprintf(path, sizeof path, "%s/%s", folder, used_file);
    if (!read_number(path, "", &used)) return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (read_number(path, cache_key, &cache)) used -= MIN(used, cache);
    return limit > used ? limit - used : 0;
}

/* pages[0]: address space, pages[1]: resident */
static bool own_pages(uint64_t pages[2])
{
    FILE *f = fopen("/proc/self/statm", "re");
    bool ok = f && fscanf(f, "%lu %lu", &pages[0], &pages[1]) == 2;
    if (f) fclose(f);
    return ok;
}

uint64_t memory_available(void)
{
    uint64_t least = UINT64_MAX, kilobytes, pages[2];
    if (read_number("/proc/meminfo", "MemAvailable:", &kilobytes)) least = kilobytes * 1024;
    least = MIN(least, left_of("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"));
    least = MIN(least, left_of("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                               "total_inactive_file"));
    struct rlimit limit;
    if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY && own_pages(pages)) {
        uint64_t used = pages[0] * (uint64_t)sysconf(_SC_PAGESIZE);
        least = MIN(least, limit.rlim_cur > used ? limit.rlim_cur - used : 0);
    }
    return least;
}

uint64_t memory_resident(void)
{
    uint64_t pages[2];
    return own_pages(pages) ? pages[1] * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

#endif
