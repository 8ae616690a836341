/* filters_list.h -- filters of lists, for the table of all of them. */
#ifndef MOE_JINJA_FILTERS_LIST_H
#define MOE_JINJA_FILTERS_LIST_H

#include "jinja/builtin.h"

struct value filter_length(struct run *r, struct value self, struct value *a);
struct value filter_items(struct run *r, struct value self, struct value *a);
struct value filter_list(struct run *r, struct value self, struct value *a);
struct value filter_first(struct run *r, struct value self, struct value *a);
struct value filter_last(struct run *r, struct value self, struct value *a);
struct value filter_reverse(struct run *r, struct value self, struct value *a);
struct value filter_join(struct run *r, struct value self, struct value *a);
struct value filter_sum(struct run *r, struct value self, struct value *a);
struct value filter_batch(struct run *r, struct value self, struct value *a);
struct value filter_slice(struct run *r, struct value self, struct value *a);
struct value filter_map(struct run *r, struct value self, struct args *a);
struct value filter_select(struct run *r, struct value self, struct args *a);
struct value filter_reject(struct run *r, struct value self, struct args *a);
struct value filter_select_attribute(struct run *r, struct value self, struct args *a);
struct value filter_reject_attribute(struct run *r, struct value self, struct args *a);

/* sorting.c */
struct value filter_dictsort(struct run *r, struct value self, struct value *a);
struct value filter_sort(struct run *r, struct value self, struct value *a);
struct value filter_unique(struct run *r, struct value self, struct value *a);
struct value filter_min(struct run *r, struct value self, struct value *a);
struct value filter_max(struct run *r, struct value self, struct value *a);
struct value filter_groupby(struct run *r, struct value self, struct value *a);

/* What "a.b.0" means of v; attribute: a string, a number, or MISSING or NONE for v itself. */
struct value attribute_path(struct run *r, struct value v, struct value attribute, struct value missing);

#endif
