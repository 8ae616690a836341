/* resident.c -- what the kernel says of memory, in /proc and by getrusage. */
#include "base/resident.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/num.h"

/* The line "KEY:   1234 kB" of a file in /proc. */
static bool kilobytes(const char *path, const char *key, uint64_t *bytes)
{
    FILE *f = fopen(path, "re");
    size_t n = strlen(key);
    struct err ignored;
    char line[128], *p;
    int64_t kb = -1;

    while (f && kb < 0 && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) != 0 || line[n] != ':')
            continue;
        p = line + n + 1 + strspn(line + n + 1, " \t");
        p[strcspn(p, " \n")] = '\0';
        if (num_i64(p, key, 0, INT64_MAX / 1024, &kb, &ignored))
            break;
    }
    if (f)
        fclose(f);
    *bytes = kb < 0 ? 0 : (uint64_t)kb * 1024;
    return kb >= 0;
}

uint64_t resident_now(void)
{
    uint64_t bytes;

    kilobytes("/proc/self/status", "VmRSS", &bytes);
    return bytes;
}

uint64_t resident_most(void)
{
    struct rusage r;

    return getrusage(RUSAGE_SELF, &r) == 0 ? (uint64_t)r.ru_maxrss * 1024 : 0;
}

uint64_t resident_available(void)
{
    uint64_t bytes;

    return kilobytes("/proc/meminfo", "MemAvailable", &bytes) ? bytes : UINT64_MAX;
}
