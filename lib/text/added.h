/*
 * added.h -- added tokens: strings that are found in the text before anything else is done to it.
 *
 * The longest of those that begin leftmost is taken; single_word, lstrip and rstrip as in the reference.
 */
#ifndef MOE_TEXT_ADDED_H
#define MOE_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct added_token {
    char *content; /* what is looked for */
    size_t n;
    int32_t id;
    bool single_word, lstrip, rstrip;
};
struct added_set {
    struct added_token *token; /* [n], sorted by content after added_ready */
    size_t n, cap;
    size_t first[257]; /* tokens that begin with byte b: first[b] .. first[b + 1] */
};
/* content is copied; an empty one and a repeated one are ignored. */
int added_add(struct added_set *a, const char *content, size_t n, const struct added_token *like,
              struct err *e);
/* To be called once, after the last added_add. */
void added_ready(struct added_set *a);
void added_free(struct added_set *a);

/* A walk over a text; start from {.s, .n}. */
struct added_walk {
    const char *s;
    size_t n;
    size_t done; /* everything before is given out */
    size_t scan; /* where the search goes on */
};
/* False at the end of the text. Else s[*from .. *to) is a stretch without added tokens (may be empty),
 * followed by the token *id, or by the end of the text with *id = -1. */
bool added_next(const struct added_set *a, struct added_walk *w, size_t *from, size_t *to, int32_t *id);

#endif
