/* judge_forecast.c -- models and masks of a comparison as work on a corpus. */
#include <stdlib.h>

#include "base/mem.h"
#include "judge/judge.h"

enum { HEAD_BYTES = 1 << 20 };

int judge_forecast(struct forecast *f, struct engine *en, const struct model *ref,
                   const struct candidate *candidate, int n, const struct corpus *c, uint64_t mem_max,
                   struct err *e)
{
    const struct precision_row *precision = engine_precision(en);
    struct forecast_work *work = mem_new((size_t)n + 1, sizeof *work, e);
    uint64_t held = pass_state_bytes(ref, precision), row = n ? sizeof(struct kl_row) : sizeof(float), more;
    int i, models = 1, rc;

    if (!work)
        return -1;
    work[0] = (struct forecast_work){.m = ref, .variants = 1, .heads = 1};
    for (i = 0; i < n; i++) {
        const struct model *m = candidate[i].model;

        held += pass_state_bytes(m ? m : ref, precision) + row;
        if (m) {
            work[models++] = (struct forecast_work){.m = m, .variants = 1, .heads = 1};
        } else {
            work[0].variants++;
            work[0].heads++;
        }
    }
    /* rows of all passes, and of one until they are collected and while they are summed up; the next tokens,
     * and what the head takes of a piece */
    more = (uint64_t)c->tokens * (sizeof(int32_t) + row * (n ? 2 * ((uint64_t)n + 1) : 1)) + HEAD_BYTES;
    rc = forecast_make(f, en, work, models, c, held + (n ? 0 : row), more, mem_max, e);
    free(work);
    return rc;
}
