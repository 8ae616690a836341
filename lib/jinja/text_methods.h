/* text_methods.h -- what the methods of strings share, and those that take a string apart. */
#ifndef MOE_JINJA_TEXT_METHODS_H
#define MOE_JINJA_TEXT_METHODS_H

#include "jinja/builtin.h"

/* v, safe if the model is. */
struct value text_like(struct value v, struct value model);
/* v, or a TypeError where it is no string. */
struct value text_need(struct run *r, struct value v);
/* s from a byte to another. */
struct value text_part(struct value s, size_t from, size_t to);
/* The last place of what in the first n bytes of s, or NULL. */
const char *text_find_last(struct value s, size_t n, struct value what);

struct value text_split(struct run *r, struct value self, struct value *a);
struct value text_split_right(struct run *r, struct value self, struct value *a);
struct value text_split_lines(struct run *r, struct value self, struct value *a);
struct value text_partition(struct run *r, struct value self, struct value *a);
struct value text_partition_right(struct run *r, struct value self, struct value *a);

#endif
