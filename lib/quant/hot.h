/*
 * hot.h -- a loop that is compiled for several instruction sets, of which each call takes the best one that
 * isa.h allows. Its file is compiled for full vectorisation (Makefile, HOT_FLAGS). The results are the same
 * on all of them: no multiply-adds are fused here.
 */
#ifndef MOE_QUANT_HOT_H
#define MOE_QUANT_HOT_H

#include "base/isa.h"

/* HOT(static void, f, (int a, char *b), (a, b)) { ... } defines static void f(int a, char *b). */
#if defined(__x86_64__)
#define HOT(type, name, params, args)                                                                        \
    static inline __attribute__((always_inline)) void name##_any params;                                     \
    __attribute__((target("avx2"))) static void name##_avx2 params                                           \
    {                                                                                                        \
        name##_any args;                                                                                     \
    }                                                                                                        \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) static void name##_avx512 params           \
    {                                                                                                        \
        name##_any args;                                                                                     \
    }                                                                                                        \
    type name params                                                                                         \
    {                                                                                                        \
        enum isa best = isa_best();                                                                          \
                                                                                                             \
        if (best >= ISA_AVX512)                                                                              \
            name##_avx512 args;                                                                              \
        else if (best >= ISA_AVX2)                                                                           \
            name##_avx2 args;                                                                                \
        else                                                                                                 \
            name##_any args;                                                                                 \
    }                                                                                                        \
    static inline __attribute__((always_inline)) void name##_any params
#else
#define HOT(type, name, params, args) type name params
#endif

#endif
