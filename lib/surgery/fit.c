#include "surgery/fit.h"

#include "model/summary.h"
#include "surgery/prune.h"

int fit_keep(const struct model *m, uint64_t bytes, int64_t context, struct fit *f, struct err *e)
{
    int lo = 0, hi = m->arch.experts; /* lo fits (0 by definition), everything above hi does not */
    uint64_t size, tensors;

    *f = (struct fit){.kv = model_kv_bytes(m, context)};
    while (lo < hi) {
        int mid = lo + (hi - lo + 1) / 2;

        if (prune_size(m, mid, &size, &tensors, e))
            return -1;
        if (size + f->kv <= bytes)
            lo = mid;
        else
            hi = mid - 1;
    }
    f->keep = lo;
    return prune_size(m, lo ? lo : 1, &f->weights, &tensors, e);
}
