/*
 * cache.h -- private to judge: the reference's most likely tokens of every scored position in a file,
 * moe-logprobs(5).
 *
 *     cache_open(&c, path, force, ref, precision, corpus, e)   reads if the file is there, else writes
 *     cache_pass(&c, &pass, &top, e)                           each pass, in order: fills top, or keeps it
 *     cache_finish(&c, e)                                      the checksum is right; or the file appears
 *     cache_close(&c)                                          always
 */
#ifndef MOE_JUDGE_CACHE_H
#define MOE_JUDGE_CACHE_H

#include "base/file.h"
#include "base/hash.h"
#include "judge/judge.h"

/* Tokens kept of a position: the most likely ones, and samples of the others (engine_top). */
enum { CACHE_TOP = 32, CACHE_SAMPLES = 32 };

struct cache {
    bool reading;
    struct rfile in;
    struct wfile out;
    uint64_t at; /* reading: the next byte */
    struct hash *hash;
    const struct corpus *corpus;
    int vocab, top, samples;
    size_t id_bytes, record; /* bytes of a token, and of a position */
    unsigned char *buf;      /* records of the longest document */
    double rest;             /* sum over positions of what the kept tokens do not have */
};

/* Refused: a file of another model, text or precision, unless force, which makes it anew. */
int cache_open(struct cache *c, const char *path, bool force, const struct model *ref, const char *precision,
               const struct corpus *corpus, struct err *e);
/* top: [pass tokens], of top_probs_new(.., c->top, c->samples, ..). */
int cache_pass(struct cache *c, const struct corpus_pass *p, struct top_probs *top, struct err *e);
int cache_finish(struct cache *c, struct err *e);
void cache_close(struct cache *c);

#endif
