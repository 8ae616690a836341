/* sets.c -- the CPU backend as it was compiled for each instruction set (Makefile, SETS), and which one runs.
 */
#include "cpu/product.h"
#include "device/registry.h"

#include "contract.h"

typedef int open_fn(struct device **out, const struct device_options *o, struct err *e);

/* What the objects of a set leave visible, with the set's name at its end. */
#define SET(set)                                                                                             \
    open_fn cpu_open_##set;                                                                                  \
    extern const struct product cpu_f32_##set, cpu_bf16_##set
SET(plain);
#ifdef __x86_64__
SET(avx2);
SET(avx512);
SET(avx512_bf16);
extern const struct product product_pairs, product_tiles;
#endif

static const struct set {
    open_fn *open;
    const struct product *f32, *bf16;
} sets[ISA_COUNT] = {
    [ISA_PLAIN] = {cpu_open_plain, &cpu_f32_plain, &cpu_bf16_plain},
#ifdef __x86_64__
    [ISA_AVX2] = {cpu_open_avx2, &cpu_f32_avx2, &cpu_bf16_avx2},
    [ISA_AVX512] = {cpu_open_avx512, &cpu_f32_avx512, &cpu_bf16_avx512},
    [ISA_AVX512_BF16] = {cpu_open_avx512_bf16, &cpu_f32_avx512_bf16, &product_pairs},
    [ISA_AMX] = {cpu_open_avx512_bf16, &cpu_f32_avx512_bf16, &product_tiles},
#endif
};

const struct product *product_of(enum isa isa, bool bf16)
{
    return bf16 ? sets[isa].bf16 : sets[isa].f32;
}

static int sets_count(struct err *e)
{
    (void)e;
    return 1;
}

static int best_open(struct device **out, const struct device_options *o, struct err *e)
{
    *out = NULL;
    return isa_check(e) ? -1 : sets[isa_best()].open(out, o, e);
}

const struct backend cpu_backend = {.contract = MOE_CONTRACT,
                                    .kind = "cpu",
                                    .count = sets_count,
                                    .precisions = 1u << PREC_AUTO | 1u << PREC_BF16 | 1u << PREC_F32,
                                    .open = best_open};
