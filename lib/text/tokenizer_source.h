/*
 * tokenizer_source.h -- what a tokenizer is made of, wherever it is written: tokens, merges, and the rules
 * around them. Each place has a maker of this (a folder's tokenizer.json is one); the tokenizer knows no
 * other.
 */
#ifndef MOE_TEXT_TOKENIZER_SOURCE_H
#define MOE_TEXT_TOKENIZER_SOURCE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/hash.h"

/* A token of the vocabulary; any number may come as its id, impossible ones are refused there. */
typedef int token_fn(void *ctx, const char *text, size_t n, double id, struct err *e);
/* The two tokens that become one; the first that is given has the highest rank. */
typedef int merge_fn(void *ctx, const char *left, size_t left_n, const char *right, size_t right_n,
                     struct err *e);

struct tokenizer_source {
    const char *name, *config_name; /* for messages: where tokens and rules are from, and config */
    char digest[HASH_HEX];          /* of all but config */

    int (*tokens)(const struct tokenizer_source *s, token_fn *fn, void *ctx, struct err *e);
    int (*merges)(const struct tokenizer_source *s, merge_fn *fn, void *ctx, struct err *e);

    /* The rules, in the language of tokenizer.json; NULL: none. */
    const char *unk;
    bool fuse_unk, byte_fallback, ignore_merges;
    cJSON *added;      /* array of added tokens */
    cJSON *normalizer; /* what is done to text before it is split */
    cJSON *splitter;   /* pre_tokenizer */
    cJSON *post;       /* post_processor: the special tokens around a text */
    cJSON *config;     /* the keys of tokenizer_config.json */

    void (*close)(struct tokenizer_source *s);
    void *own;
};

/* The keys of dir's tokenizer_config.json; where that has no added_tokens_decoder, also those of
 * special_tokens_map.json and what added_tokens.json lists. NULL if none of them is there; the caller deletes
 * it, after a failure too. */
int tokenizer_config(cJSON **config, const char *dir, struct err *e);

/* dir/tokenizer.json and what tokenizer_config() finds beside it. On failure it is closed. */
int tokenizer_folder(struct tokenizer_source *s, const char *dir, struct err *e);

#endif
