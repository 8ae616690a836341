/* inspect_aimer.c -- the criterion file of the weights. */
#include "inspect_aimer.h"

#include "common.h"
#include "stats/aimer.h"

void inspect_aimer(const struct model *m)
{
    struct working working = {"reading experts", NULL};
    struct pool *pool = NULL;
    struct scores s;
    struct err e = {0};

    check_output(common.out);
    if (pool_open(&pool, 0, NULL, &e) || aimer_scores(&s, m, pool, working_fraction, &working, &e))
        die(&e);
    progress_done();
    if (scores_write(&s, common.out ? common.out : "-", common.force, &e))
        die(&e);
    scores_free(&s);
    pool_close(pool);
}
