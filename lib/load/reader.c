/* reader.c -- the ring: who reads, who waits, who stops whom. */
#include "load/reader.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"

enum { PIECE_BYTES = 8 << 20, MAX_THREADS = 8, MAX_SLOTS = 8 };

struct reader {
    struct batches *g;
    uint8_t *memory;
    int slots, users;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* what is to be read next: byte `off` of item `item` of batch `at` */
    size_t at, item;
    uint64_t off;
    size_t freed;            /* batches that all users are done with */
    int left[MAX_SLOTS];     /* pieces under way, of the batch in a slot */
    int finished[MAX_SLOTS]; /* users that are done with it */
    struct err err;          /* kind 0: none */
    bool stop;
    int busy; /* threads that read */
    double since, seconds;
    uint64_t bytes;
    pthread_t thread[MAX_THREADS];
    int threads;
};

struct part_read {
    size_t batch;
    const struct blob_item *item;
    uint64_t off;
    size_t n;
};

/* The rest of these is under the lock. */

static int ring_slot(const struct reader *r, size_t batch)
{
    return (int)(batch % (size_t)r->slots);
}

static bool is_there(const struct reader *r, size_t batch)
{
    return r->at > batch && r->left[ring_slot(r, batch)] == 0;
}

static void reader_fail(struct reader *r, const struct err *e)
{
    if (!r->err.kind)
        r->err = *e;
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
}

/* Goes on to the next batch when one is handed out; a batch without a tensor is there at once. */
static void next_batch(struct reader *r)
{
    r->at++;
    r->item = 0;
    r->off = 0;
    pthread_cond_broadcast(&r->changed);
}

/* Waits for room; false: there is nothing more to do. */
static bool take(struct reader *r, struct part_read *p)
{
    struct read_batch *g;

    for (;;) {
        while (!r->stop && r->at < r->g->n && r->at >= r->freed + (size_t)r->slots)
            pthread_cond_wait(&r->changed, &r->lock);
        if (r->stop || r->at == r->g->n)
            return false;
        g = &r->g->batch[r->at];
        if (r->item == 0 && r->off == 0)
            g->blob.bytes = r->memory + (size_t)ring_slot(r, r->at) * (size_t)r->g->largest;
        if (r->item < g->blob.n)
            break;
        next_batch(r);
    }
    p->batch = r->at;
    p->item = &g->blob.item[r->item];
    p->off = r->off;
    p->n = p->item->size - r->off < PIECE_BYTES ? (size_t)(p->item->size - r->off) : PIECE_BYTES;
    r->left[ring_slot(r, r->at)]++;
    r->off += p->n;
    if (r->off == p->item->size) {
        r->item++;
        r->off = 0;
        if (r->item == g->blob.n)
            next_batch(r);
    }
    if (r->busy++ == 0)
        r->since = seconds_now();
    return true;
}

static void give_back(struct reader *r, const struct part_read *p)
{
    r->bytes += p->n;
    if (--r->busy == 0)
        r->seconds += seconds_now() - r->since;
    if (--r->left[ring_slot(r, p->batch)] == 0 && is_there(r, p->batch))
        pthread_cond_broadcast(&r->changed);
}

/* ---- threads ---- */

static int read_piece(const struct reader *r, const struct part_read *p, struct err *e)
{
    const struct blob *b = &r->g->batch[p->batch].blob;

    if (check_cancelled(e))
        return -1;
    if (checkpoint_read(&b->m->ckpt, p->item->t, p->item->from + p->off, b->bytes + p->item->at + p->off,
                        p->n, e))
        return err_prefix(e, "tensor '%s'", p->item->t->name), -1;
    return 0;
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct err e = {0};
    struct part_read p;

    pthread_mutex_lock(&r->lock);
    while (take(r, &p)) {
        pthread_mutex_unlock(&r->lock);
        read_piece(r, &p, &e);
        pthread_mutex_lock(&r->lock);
        give_back(r, &p);
        if (e.kind)
            reader_fail(r, &e);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int reader_open(struct reader **out, struct batches *g, uint8_t *memory, int slots, int users, struct err *e)
{
    struct reader *r = mem_new(1, sizeof *r, e);
    int n = cpu_count() / 2;

    *out = NULL;
    if (!r)
        return -1;
    r->g = g;
    r->memory = memory;
    r->slots = slots < MAX_SLOTS ? slots : MAX_SLOTS;
    r->users = users;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    for (n = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n; r->threads < n; r->threads++)
        if (pthread_create(&r->thread[r->threads], NULL, reader_main, r)) {
            reader_close(r);
            return err_set(e, ERR_IO, "cannot start a thread that reads");
        }
    *out = r;
    return 0;
}

void reader_close(struct reader *r)
{
    int i;

    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    for (i = 0; i < r->threads; i++)
        pthread_join(r->thread[i], NULL);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- users ---- */

int reader_wait(struct reader *r, size_t batch, struct err *e)
{
    int rc = 0;

    pthread_mutex_lock(&r->lock);
    while (!is_there(r, batch) && !r->stop)
        pthread_cond_wait(&r->changed, &r->lock);
    if (r->stop)
        rc = r->err.kind ? err_set(e, r->err.kind, "%s", r->err.msg) : err_set(e, ERR_CANCELLED, "stopped");
    pthread_mutex_unlock(&r->lock);
    return rc;
}

void reader_done(struct reader *r, size_t batch)
{
    pthread_mutex_lock(&r->lock);
    r->finished[ring_slot(r, batch)]++;
    while (r->freed < r->at && r->finished[ring_slot(r, r->freed)] == r->users)
        r->finished[ring_slot(r, r->freed++)] = 0;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void reader_stop(struct reader *r, const struct err *e)
{
    pthread_mutex_lock(&r->lock);
    reader_fail(r, e);
    pthread_mutex_unlock(&r->lock);
}

void reader_cost(struct reader *r, double *seconds, uint64_t *bytes)
{
    pthread_mutex_lock(&r->lock);
    *seconds += r->seconds;
    *bytes += r->bytes;
    pthread_mutex_unlock(&r->lock);
}

int reader_read(struct blob *b, struct err *e)
{
    struct read_batch one = {.blob = *b};
    struct batches g = {.batch = &one, .n = 1, .largest = b->size};
    struct reader *r;
    int rc;

    if (reader_open(&r, &g, b->bytes, 1, 1, e))
        return -1;
    rc = reader_wait(r, 0, e);
    reader_close(r);
    return rc;
}
