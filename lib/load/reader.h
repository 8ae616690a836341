/*
 * reader.h -- private to weights: threads that read batches of tensors in order, ahead of those who use them,
 * into a ring of buffers.
 *
 *     reader_open(&r, batches, &memory, slots, users, e)
 *     reader_wait(r, i, e)         batch i is in memory, at its blob's bytes
 *     reader_done(r, i)            its memory may be used again; each user once, in order
 *     reader_close(r)
 *
 * A failure of one thread (a file that ends too early, a signal) stops all of them and is what everybody gets
 * who waits.
 */
#ifndef MOE_LOAD_READER_H
#define MOE_LOAD_READER_H

#include "load/batches.h"

struct reader;

/* memory: slots times batches->largest bytes, which outlives the reader, like the batches. Starts reading. */
int reader_open(struct reader **out, struct batches *g, uint8_t *memory, int slots, int users, struct err *e);
int reader_wait(struct reader *r, size_t batch, struct err *e);
void reader_done(struct reader *r, size_t batch);
/* Makes everybody who waits, now or later, fail with e's message. */
void reader_stop(struct reader *r, const struct err *e);
/* Adds the bytes read, and the time in which something was being read. */
void reader_cost(struct reader *r, double *seconds, uint64_t *bytes);
void reader_close(struct reader *r);

/* Reads one blob into its bytes with several threads. */
int reader_read(struct blob *b, struct err *e);

#endif
