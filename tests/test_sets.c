/*
 * test_sets.c -- every operation of the CPU backend as it was compiled for each instruction set that this
 * processor has, against the plain one: what test_cuda.c asks of a GPU.
 */
#define OTHER_DEVICE
#include "test_cuda.c"

#include "base/isa.h"

static struct device *opened(enum isa isa, enum precision p)
{
    struct device_options o = {.precision = p, .threads = 2};
    struct device *d;

    isa_limit(isa);
    CHECK_MSG(backend_open(&cpu_backend, &d, &o, &err) == 0, "%s: %s", isa_name(isa), err.msg);
    return d;
}

int main(void)
{
    enum isa best = isa_best();
    int i, p;

    for (i = ISA_PLAIN; i <= (int)best; i++)
        for (p = PREC_BF16; p <= PREC_F32; p++) {
            precision = p == PREC_F32 ? "f32" : "bf16";
            printf("%s\n", isa_name((enum isa)i));
            dev[CPU] = opened(ISA_PLAIN, PREC_F32);
            dev[GPU] = opened((enum isa)i, (enum precision)p);
            if (!dev[CPU] || !dev[GPU])
                CHECK_END();
            check_all();
            dev[GPU]->ops->close(dev[GPU]);
            dev[CPU]->ops->close(dev[CPU]);
        }
    CHECK_END();
}
