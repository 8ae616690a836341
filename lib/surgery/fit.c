/* fit.c -- the largest number kept whose files are small enough. */
#include "surgery/fit.h"

#include "model/summary.h"
#include "surgery/prune.h"

int fit_keep(const struct model *m, uint64_t bytes, int64_t context, struct fit *f, struct err *e)
{
    struct expert_groups groups = prune_groups(m);
    int least, lo, hi = groups.experts / groups.groups; /* of each group: nothing above hi fits, lo does */
    uint64_t size;

    *f = (struct fit){.kv = model_kv_bytes(m, context)};
    for (least = 1; !groups_allow(&groups, least * groups.groups); least++)
        ;
    for (lo = least - 1; lo < hi;) {
        int mid = lo + (hi - lo + 1) / 2;

        if (prune_size(m, mid * groups.groups, &size, e))
            return -1;
        if (size + f->kv <= bytes)
            lo = mid;
        else
            hi = mid - 1;
    }
    f->least = least * groups.groups;
    f->keep = lo < least ? 0 : lo * groups.groups;
    return prune_size(m, f->keep ? f->keep : f->least, &f->weights, e);
}
