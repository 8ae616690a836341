/*
 * tokenizer_parts.h -- what a struct tokenizer consists of; shared by who makes it (tokenizer_make.c,
 * tokenizer_added.c), who compares two (tokenizer_same.c) and the encoder (tokenizer.c), nobody else.
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

    bool cuts;           /* long texts, into parts that are encoded alone */
    struct map added_id; /* contents of all added tokens */
    int32_t size;        /* largest id + 1 */
    char digest[HASH_HEX];
    pthread_mutex_t lock; /* of idle */
    struct workspace *idle;
};

/* A tokenizer on its way from its source. */
struct tokenizer_making {
    struct tokenizer *t;
    const struct tokenizer_source *source;
    const char *path; /* what is being read, for messages */
    struct err *e;

    /* Added tokens in their order; a later one of the same content replaces the flags of the first. */
    struct tokenizer_added {
        struct added_token token;
        bool normalized;
    } * added; /* [n] */
    size_t n, cap;
    struct map place; /* content: index in added */
    int32_t next_id;  /* of an added token that the vocabulary lacks, if the vocabulary has no more tokens */
};
/* Notes the largest id; refuses what is none. of: the token, for the message. */
int tokenizer_check_id(struct tokenizer_making *r, double id, const char *of);
/* The content of a token that is written as a string or as an object; NULL: neither. */
const char *tokenizer_token_text(const cJSON *j);

/* The source's added tokens; then those that its config adds; then both into the sets that are searched. */
int tokenizer_added_tokens(struct tokenizer_making *r);
int tokenizer_config_tokens(struct tokenizer_making *r);
int tokenizer_added_ready(struct tokenizer_making *r);
void tokenizer_added_free(struct tokenizer_making *r);

/* Fills t (zeroed but for the lock); on failure the caller closes it. */
int tokenizer_make(struct tokenizer *t, const struct tokenizer_source *s, struct err *e);

#endif
