/*
 * feed.h -- hidden states that a pass left, piece by piece on the device, wherever they are kept.
 *
 *     feed_open(&f, d, h, piece, e)
 *     feed_fetch(&f, 0, piece)                  begins to bring tokens up
 *     x = feed_take(&f, 0)                      what was fetched last, device
 *     feed_fetch(&f, piece, piece)              the next, while x is computed with; what was taken before is
 *                                               free
 *     feed_close(&f)
 */
#ifndef MOE_ENGINE_FEED_H
#define MOE_ENGINE_FEED_H

#include "engine/engine_private.h"

/* Those in host memory pass through two buffers. */
struct feed {
    struct device *d;
    const struct hidden *h;
    uint8_t *buffer[2];
    uint64_t ready[2];
    int at;
};

/* piece: the most tokens at a time. */
int feed_open(struct feed *f, struct device *d, const struct hidden *h, int64_t piece, struct err *e);
void feed_fetch(struct feed *f, int64_t first, int64_t n);
const void *feed_take(struct feed *f, int64_t first);
void feed_close(struct feed *f);

#endif
