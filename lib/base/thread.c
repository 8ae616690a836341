/* thread.c -- a pool of worker threads. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

struct pool {
    int threads;
    pthread_t *id; /* [threads - 1] */
    int started;   /* how many of them run */
    pthread_mutex_t mu;
    pthread_cond_t go, done;
    unsigned long round; /* counts pool_run calls; workers wait for it to change */
    int busy;            /* workers still in this round */
    int quit;
    void (*start)(void);
    void (*fn)(void *, long, int);
    void *ctx;
    long tasks;
    atomic_long next;
};

struct worker_arg {
    struct pool *p;
    int worker;
};

static void work(struct pool *p, int worker)
{
    long t;

    while ((t = atomic_fetch_add(&p->next, 1)) < p->tasks)
        p->fn(p->ctx, t, worker);
}

static void *worker_main(void *argp)
{
    struct worker_arg a = *(struct worker_arg *)argp;
    struct pool *p = a.p;
    unsigned long seen = 0;

    free(argp);
    if (p->start)
        p->start();
    for (;;) {
        pthread_mutex_lock(&p->mu);
        while (p->round == seen && !p->quit)
            pthread_cond_wait(&p->go, &p->mu);
        seen = p->round;
        if (p->quit) {
            pthread_mutex_unlock(&p->mu);
            return NULL;
        }
        pthread_mutex_unlock(&p->mu);
        work(p, a.worker);
        pthread_mutex_lock(&p->mu);
        if (--p->busy == 0)
            pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->mu);
    }
}

int cpu_count(void)
{
    cpu_set_t set;
    long n;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}

int pool_open(struct pool **out, int threads, void (*start)(void), struct err *e)
{
    struct pool *p = mem_new(1, sizeof *p, e);
    int i;

    *out = NULL;
    if (!p)
        return -1;
    p->threads = threads > 0 ? threads : cpu_count();
    p->start = start;
    pthread_mutex_init(&p->mu, NULL);
    pthread_cond_init(&p->go, NULL);
    pthread_cond_init(&p->done, NULL);
    p->id = mem_new((size_t)p->threads, sizeof *p->id, e);
    if (!p->id)
        goto fail;
    if (start)
        start();
    for (i = 0; i < p->threads - 1; i++) {
        struct worker_arg *a = mem_new(1, sizeof *a, e);

        if (!a)
            goto fail;
        *a = (struct worker_arg){p, i + 1};
        if (pthread_create(&p->id[i], NULL, worker_main, a)) {
            free(a);
            err_set(e, ERR_IO, "cannot start thread %d of %d: try a smaller --threads", i + 2, p->threads);
            goto fail;
        }
        p->started++;
    }
    *out = p;
    return 0;
fail:
    pool_close(p);
    return -1;
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_run(struct pool *p, long tasks, void (*fn)(void *, long, int), void *ctx)
{
    p->fn = fn;
    p->ctx = ctx;
    p->tasks = tasks;
    atomic_store(&p->next, 0);
    if (p->started && tasks > 1) {
        pthread_mutex_lock(&p->mu);
        p->round++;
        p->busy = p->started;
        pthread_cond_broadcast(&p->go);
        pthread_mutex_unlock(&p->mu);
        work(p, 0);
        pthread_mutex_lock(&p->mu);
        while (p->busy)
            pthread_cond_wait(&p->done, &p->mu);
        pthread_mutex_unlock(&p->mu);
    } else {
        work(p, 0);
    }
}

void pool_close(struct pool *p)
{
    int i;

    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    p->quit = 1;
    pthread_cond_broadcast(&p->go);
    pthread_mutex_unlock(&p->mu);
    for (i = 0; i < p->started; i++)
        pthread_join(p->id[i], NULL);
    pthread_mutex_destroy(&p->mu);
    pthread_cond_destroy(&p->go);
    pthread_cond_destroy(&p->done);
    free(p->id);
    free(p);
}

double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
