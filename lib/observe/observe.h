/*
 * observe.h -- what the engine sees of a corpus, as statistics.
 */
#ifndef MOE_OBSERVE_OBSERVE_H
#define MOE_OBSERVE_OBSERVE_H

#include "observe/forecast.h"
#include "observe/passes.h"
#include "observe/reservoir.h"
#include "stats/matrices.h"
#include "stats/stats.h"

struct observe_report {
    int64_t passes;
    int64_t resumed; /* documents that were found finished */
    struct engine_cost cost;
};

/* Where a run keeps what its finished passes gave, and looks for it first: a later run with the same input
 * goes on from there. matrices NULL: there are none. */
struct observe_partial {
    const char *stats, *matrices;
};

/* What else a run can give: made new; NULL: not wanted, and then it costs nothing. */
struct observe_more {
    struct matrices *matrices;
    bool pool_pairs; /* do not tell pairs of experts apart by category */
    struct reservoir *reservoir;
    int64_t reservoir_tokens;
    const struct observe_partial *partial; /* NULL: nothing is kept; not with a reservoir */
};

/* Of the matrices of a model. */
struct matrices_form observe_form(const struct arch *a, bool pool_pairs);

/*
 * Runs the whole corpus through m and adds every routed token to the cell of its layer, category and half,
 * in document order and f64: the same sums, bit for bit, in one pass or many. *s is made new, with one
 * #part; max_len only names the option in the #run line. A gate weight or output that is not
 * finite is refused with layer, expert and document. more and r may be NULL.
 */
int observe_corpus(struct stats *s, const struct observe_more *more, struct engine *en, const struct model *m,
                   const struct corpus *c, int max_len, const struct pass_options *po,
                   struct observe_report *r, struct err *e);

/* Everything is written: removes what was kept. */
void observe_done(const struct observe_partial *p);

/* What observing would take. */
struct observe_wanted {
    uint64_t bytes; /* of matrices and reservoir, which are held in memory */
    bool matrices, pool_pairs;
};
int observe_forecast(struct forecast *f, const struct observe_wanted *wanted, struct engine *en,
                     const struct model *m, const struct corpus *c, uint64_t mem_max, struct err *e);

#endif
