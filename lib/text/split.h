/*
 * split.h -- pre-tokenizers that cut a text into pieces, by regular expressions or (Metaspace) at spaces.
 */
#ifndef MOE_TEXT_SPLIT_H
#define MOE_TEXT_SPLIT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "text/regex.h"

enum { SPLIT_LEVELS = 16 };
struct splitter {
    struct split_level {
        struct regex regex; /* of code NULL: Metaspace */
        char *pattern;      /* of regex, or the string that it is */
        bool literal;
        bool removed; /* matches are dropped, else they are pieces of their own */
        bool invert;  /* matches and gaps change places */

        /* Metaspace: spaces become mark, which is also put in front */
        char mark[5];
        enum { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } prepend;
        bool cuts; /* a piece begins at every mark */
    } level[SPLIT_LEVELS];
    int levels;
    bool byte_level; /* ends with ByteLevel */
};
/* json: the member "pre_tokenizer" (null: none). what names the file in messages. */
int splitter_read(struct splitter *s, const cJSON *json, const char *what, struct err *e);
void splitter_free(struct splitter *s);

/* What one thread needs to match. */
struct split_work {
    void *data[SPLIT_LEVELS];        /* pcre2_match_data of each level */
    struct str marked[SPLIT_LEVELS]; /* what a Metaspace makes of its text */
    struct split_classes {
        uint8_t *p;
        size_t cap;
    } classes[SPLIT_LEVELS]; /* of the characters of what a level is cutting */
    void *context, *stack;
};
int split_work_init(struct split_work *w, const struct splitter *s, struct err *e);
void split_work_free(struct split_work *w);
/* Calls fn for every piece of text (valid UTF-8), in order; stops and returns its result if it is not 0.
 * first: text begins where the whole input does (Metaspace asks). */
int split(const struct splitter *s, struct split_work *w, const char *text, size_t n, bool first,
          int (*fn)(void *ctx, const char *piece, size_t n, struct err *e), void *ctx, struct err *e);

#endif
