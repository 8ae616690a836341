/*
 * charset.h -- sets of code points, as the sorted places where membership changes.
 */
#ifndef MOE_TEXT_CHARSET_H
#define MOE_TEXT_CHARSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Start from {0}, the empty set. */
struct charset {
    uint32_t *edge; /* [n] ascending: edge[0] is in, edge[1] no more, ... */
    size_t n, cap;
};
void charset_free(struct charset *a);
bool charset_has(const struct charset *a, uint32_t c);
bool charset_equal(const struct charset *a, const struct charset *b);

/* Changes a; 0 or -1 for lack of memory. */
int charset_add(struct charset *a, uint32_t from, uint32_t to, struct err *e); /* from .. to, both included */
int charset_join(struct charset *a, const struct charset *b, struct err *e);
int charset_meet(struct charset *a, const struct charset *b, struct err *e);
int charset_invert(struct charset *a, struct err *e);
/* Adds the characters of a property: a general category ("Lu"), the first letter of some ("L"), or a script
 * ("Han"); upper and lower case, '_', '-' and spaces do not matter. 1: done; 0: there is none of that name.
 */
int charset_property(struct charset *a, const char *name, size_t n, struct err *e);

#endif
