/*
 * states.h -- private to the layer loop: the hidden states of a pass.
 *
 * They stay on the device, or in host memory, from where each chunk visits one of a few device buffers, layer
 * after layer: copies up of the next chunk and down of the last one go on beside computing.
 */
#ifndef MOE_ENGINE_STATES_H
#define MOE_ENGINE_STATES_H

#include "engine/engine_private.h"

/* Three: one on its way up, one computed with, one on its way down. */
enum { STATE_BUFFERS = 3 };

struct states {
    struct device *d;
    bool on_host;
    size_t row;        /* bytes of a token */
    struct hidden **h; /* [variants] */
    int variants;
    int64_t *token;                 /* [chunks + 1] first token of each chunk */
    int64_t chunks, widest;         /* widest: tokens of the largest chunk, and TILE_ROWS to spare */
    uint8_t *buffer[STATE_BUFFERS]; /* device [variants][widest] rows */
    uint64_t ready[STATE_BUFFERS], emptied[STATE_BUFFERS]; /* tickets of the last copies */
    uint64_t *stored;                                      /* [chunks] ticket of its last copy down */
    int64_t visits;                                        /* that began to come up */
    int64_t here;                                          /* the chunk at hand */
    int at;                                                /* its buffer */
};

/* first: [chunks + 1] tokens where the chunks begin. */
int states_open(struct states *s, struct device *d, bool on_host, int variants, int hidden,
                const int64_t *first, int64_t chunks, struct err *e);
/* Begins to bring up a chunk of those variants for which bring is true. */
void states_fetch(struct states *s, int64_t chunk, const bool *bring);
/* The oldest chunk that was fetched is the one at hand. */
void states_begin(struct states *s, int64_t chunk);
/* Takes those variants of it back for which keep is true. */
void states_end(struct states *s, const bool *keep);
/* Device: a token of the chunk at hand. */
uint8_t *states_at(const struct states *s, int variant, int64_t token);
/* All of a variant becomes a copy of another. */
void states_copy(struct states *s, int to, int from);
/* Returns when h holds what the last visit left. */
void states_settle(struct states *s);
/* out [variants] is the caller's from now on. */
void states_take(struct states *s, struct hidden **out);
/* Waits for copies and frees what is left. */
void states_close(struct states *s);

#endif
