/*
 * tokenizer_parts.h -- what a struct tokenizer consists of; shared by who makes it (tokenizer_make.c) and the
 * encoder (tokenizer.c), nobody else.
 */
#ifndef MOE_TEXT_TOKENIZER_PARTS_H
#define MOE_TEXT_TOKENIZER_PARTS_H

#include <pthread.h>

#include "text/added.h"
#include "text/bpe.h"
#include "text/normal.h"
#include "text/split.h"
#include "text/tokenizer.h"

/* Scratch of one encoding call; kept in the tokenizer between calls, one for each call at a time. */
struct workspace {
    struct workspace *next;
    struct bpe_work bpe;
    struct split_work split;
    struct str normal_a, normal_b;
};

struct tokenizer {
    /* in the order in which a text passes them */
    struct added_set raw; /* added tokens looked for in the text as it is */
    struct normalizer normalizer;
    struct added_set normalized; /* added tokens looked for in normalized text */
    struct splitter splitter;
    struct bpe bpe;
    struct ids before, after; /* what the post-processor puts around */

    struct map added_id; /* contents of all added tokens */
    int32_t size;        /* largest id + 1 */
    char digest[HASH_HEX];
    pthread_mutex_t lock; /* of idle */
    struct workspace *idle;
};

/* Fills t (zeroed but for the lock); on failure the caller closes it. */
int tokenizer_make(struct tokenizer *t, const struct tokenizer_source *s, struct err *e);

#endif
