/*
 * bpe.h -- byte-pair encoding: the vocabulary, the merge rules, and one piece of text to ids.
 *
 * Filled by tokenizer_make.c (map_set for every token, then bpe_merge in the order of merges, or bpe_rank
 * for every token, then bpe_ready), read-only afterwards. Room: text; nothing outside it includes this.
 */
#ifndef MOE_TEXT_BPE_H
#define MOE_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "text/tokenizer.h"

struct bpe {
    struct map vocab; /* as its source spells the tokens */
    struct bpe_rule {
        uint64_t pair; /* left id << 32 | right id; UINT64_MAX: free slot */
        uint32_t rank;
        int32_t id; /* of the merged token */
    } * rule;       /* open addressing, [rule_mask + 1] */
    size_t rules, rule_mask;

    int32_t *rank; /* [ranks] by id, -1: none; then no rules: two symbols become the token that they spell,
                      the lowest rank first, as tiktoken and sentencepiece have it; NULL: by rules */
    size_t ranks;
    bool raw;             /* byte_level: the vocabulary has the bytes themselves, not the byte alphabet */
    bool loose_merges;    /* merges of what the vocabulary lacks are passed over, else refused */
    bool byte_level;      /* symbols are bytes (through the byte alphabet), else Unicode characters */
    bool ignore_merges;   /* a piece that is a token stays one */
    bool byte_fallback;   /* an unknown character becomes <0xNN> tokens if all exist */
    bool fuse_unk;        /* consecutive unknown characters become one unk */
    int32_t unk;          /* -1: unknown characters are dropped, as the reference does */
    bool unk_absent;      /* there is to be an unk, but the vocabulary lacks it: that refuses what needs it */
    bool mark_inside;     /* some merge makes a token with U+2581 behind another character */
    bool cut_at_marks;    /* none does: what begins at a mark is independent of what is before it */
    int32_t byte_id[256]; /* byte_level: id of the one-byte token, -1: none */
    int32_t fallback_id[256]; /* byte_fallback: id of <0xNN>, -1: none */
};
/* Adds the next rule (rank = the number of rules so far). what names the file in messages. */
int bpe_merge(struct bpe *b, const char *left, size_t left_n, const char *right, size_t right_n,
              const char *what, struct err *e);
/* Gives token id its rank. */
int bpe_rank(struct bpe *b, int32_t id, const char *text, size_t n, int32_t rank, struct err *e);
/* Fills the tables that depend on vocabulary and flags. */
void bpe_ready(struct bpe *b);
void bpe_free(struct bpe *b);

/* What one thread needs to encode: scratch arrays and the cache of recent pieces. */
struct bpe_work {
    struct bpe_symbol {
        int32_t id; /* -1: merged into its left neighbour */
        int32_t prev, next;
    } * symbol;
    size_t symbol_cap;
    struct bpe_candidate {
        uint32_t rank;
        int32_t pos, left, right, id;
    } * heap;
    size_t heap_n, heap_cap;
    struct bpe_cached *cache;
    const char *unknown; /* the last unknown character */
    const char *piece;   /* by rank: what is being encoded, and where in it each symbol begins */
    int32_t *from, piece_n;
    size_t from_cap;
    struct str mapped;
};
int bpe_work_init(struct bpe_work *w, struct err *e);
void bpe_work_free(struct bpe_work *w);
/* Appends the ids of one piece. */
int bpe_encode(const struct bpe *b, struct bpe_work *w, const char *piece, size_t n, struct ids *out,
               struct err *e);

/* A byte in the byte alphabet of GPT-2: UTF-8 of one character, 1 or 2 bytes; returns how many. */
size_t bpe_byte(unsigned char byte, char out[2]);

int ids_add(struct ids *ids, int32_t id, struct err *e);

#endif
