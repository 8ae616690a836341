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
#include <stdint.h>

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
    /* One of the two: merges, or the rank of a token (-1: nothing is merged into it), where two tokens become
     * the one that they spell, the lowest rank first. */
    int (*merges)(const struct tokenizer_source *s, merge_fn *fn, void *ctx, struct err *e);
    int32_t (*rank)(const struct tokenizer_source *s, int32_t id);
    bool loose_merges; /* those of what is no token are passed over */
    bool raw;          /* tokens of bytes are spelled by the bytes themselves, not by the byte alphabet */

    /* The rules, in the language of tokenizer.json; NULL: none. */
    const char *unk;
    bool fuse_unk, byte_fallback, ignore_merges;
    cJSON *added;      /* array of added tokens */
    bool cuts;         /* long texts and long runs are encoded in parts (tokenizer.c) */
    bool added_normal; /* their contents are in normalized text as they are */
    cJSON *normalizer; /* what is done to text before it is split */
    cJSON *splitter;   /* pre_tokenizer */
    cJSON *post;       /* post_processor: the special tokens around a text */
    cJSON *config;     /* the keys of tokenizer_config.json */
    bool rules_only;   /* set by who opens it: add_bos_token and add_eos_token in config count for nothing */

    void (*close)(struct tokenizer_source *s);
    void *own;
};

/* Of a folder: the keys of its tokenizer_config.json; where that has no added_tokens_decoder, also those of
 * special_tokens_map.json and what added_tokens.json lists. NULL if none of them is there; the caller deletes
 * it, after a failure too. */
int tokenizer_config(cJSON **config, const char *dir, struct err *e);

/* Makers: one of a kind of file in dir, and what tokenizer_config() finds beside it. On failure all is freed.
 */
typedef int tokenizer_maker(struct tokenizer_source *s, const char *dir, struct err *e);
tokenizer_maker tokenizer_json;     /* tokenizer.json */
tokenizer_maker tokenizer_tiktoken; /* tiktoken.model */
tokenizer_maker tokenizer_vocab;    /* vocab.json and merges.txt */
tokenizer_maker tokenizer_spm;      /* tokenizer.model of sentencepiece */
/* dir is no folder, but a GGUF file. */
tokenizer_maker tokenizer_gguf;

/* The first of these that dir has; or, if it is a file, the last. */
int tokenizer_folder(struct tokenizer_source *s, const char *dir, struct err *e);

/* The file by which each of them is known, in that order; NULL behind the last. */
const char *tokenizer_kind(size_t i);

/* For makers: a file, which is named if it is empty or only points to where git-lfs has it. digest: of it. */
int tokenizer_file(const char *path, char **text, size_t *n, char digest[HASH_HEX], struct err *e);
/* Config's tokenizer_class, of those that makers know without "Fast"; "" if there is none. */
const char *tokenizer_class(const cJSON *config);

#endif
