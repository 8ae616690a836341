/*
 * categories.h -- how much text there is of each category, and whether an expert sees enough of it.
 */
#ifndef MOE_OBSERVE_CATEGORIES_H
#define MOE_OBSERVE_CATEGORIES_H

#include "model/model.h"
#include "text/corpus.h"

struct category_count {
    int64_t documents, tokens;
};
/* [c->categories]; the caller frees. */
struct category_count *category_counts(const struct corpus *c, struct err *e);

/* Routed tokens that an expert should see of a category, on average, for its means to say something. */
enum { CATEGORY_ROUTED = 100 };
/* Categories with fewer tokens than that takes; *wanted: how many it takes; *least: the category with the
 * fewest. */
int categories_few(const struct corpus *c, const struct category_count *n, const struct arch *a,
                   int64_t *wanted, int *least);

#endif
