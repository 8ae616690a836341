/*
 * hot.h -- marks a loop that is compiled for several instruction sets, the best one being
 * chosen when the program starts. Include it after everything else: gcc vectorises such loops fully at -O3
 * only (clang does at -O2), so it asks for that for the rest of the file.
 */
#ifndef MOE_QUANT_HOT_H
#define MOE_QUANT_HOT_H

#include <features.h> /* __GLIBC__ */

#if defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#pragma GCC optimize("O3")
#endif

/* The clones are reached through a resolver that runs before the thread sanitizer is ready. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) &&                 \
    !defined(__SANITIZE_THREAD__)
#define HOT __attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#else
#define HOT
#endif

#endif
