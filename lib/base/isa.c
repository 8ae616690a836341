/* isa.c -- what the processor has, and what MOE_CPU leaves of it. */
#define _DEFAULT_SOURCE /* syscall */
#include "base/isa.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

static const char *const names[ISA_COUNT] = {"plain", "avx2", "avx512", "avx512_bf16", "amx"};

const char *isa_name(enum isa i)
{
    return names[i];
}

/* ISA_COUNT: MOE_CPU names no set. */
static enum isa allowed(void)
{
    const char *said = getenv("MOE_CPU");
    int i;

    if (!said || !*said)
        return ISA_COUNT - 1;
    for (i = 0; i < ISA_COUNT; i++)
        if (strcmp(said, names[i]) == 0)
            break;
    return (enum isa)i;
}

int isa_check(struct err *e)
{
    if (allowed() < ISA_COUNT)
        return 0;
    return err_set(e, ERR_USAGE, "MOE_CPU is '%s': plain, avx2, avx512, avx512_bf16 and amx are possible",
                   getenv("MOE_CPU"));
}

#ifdef __x86_64__
/* Linux lends tiles, whose state is large, to those who ask. */
static bool may_use_tiles(void)
{
#ifdef __linux__
    enum { TILE_PRODUCTS = 1 << 22, TILES = 1 << 24, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILE_PRODUCTS) && (d & TILES) &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static bool has(enum isa i)
{
    __builtin_cpu_init();
    switch (i) {
    case ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    case ISA_AVX512_BF16:
        return __builtin_cpu_supports("avx512bf16");
    default:
        return may_use_tiles();
    }
}
#else
static bool has(enum isa i)
{
    (void)i;
    return false;
}
#endif

/* Atomic, as each thread may be the first to ask. known: 1 more than the set; 0: nobody has asked. */
static atomic_int known, limit = ISA_COUNT - 1;

void isa_limit(enum isa most)
{
    atomic_store(&limit, (int)most);
}

enum isa isa_best(void)
{
    int most = atomic_load_explicit(&limit, memory_order_relaxed);
    int i = atomic_load_explicit(&known, memory_order_relaxed);

    if (!i) {
        int last = (int)allowed();

        for (i = 1; i < ISA_COUNT && i <= last && has((enum isa)i); i++)
            ;
        atomic_store_explicit(&known, i, memory_order_relaxed);
    }
    return (enum isa)(i - 1 < most ? i - 1 : most);
}
