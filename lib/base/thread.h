/*
 * thread.h -- a pool of worker threads that share out numbered tasks.
 *
 * Which worker runs which task is not determined, so a task must depend on its number only; results then
 * do not depend on the thread count. The caller's thread works too (as worker 0).
 */
#ifndef MOE_BASE_THREAD_H
#define MOE_BASE_THREAD_H

#include "base/err.h"

struct pool;

/* threads >= 1; 0 means one per online processor that this process may use. start, if not NULL, runs
 * once on every worker thread (and on the caller's) before its first task. */
int pool_open(struct pool **out, int threads, void (*start)(void), struct err *e);
int pool_threads(const struct pool *p);
/* Runs fn(ctx, task, worker) for task = 0 .. tasks-1, worker in 0 .. threads-1, and returns when all are
 * done. Not reentrant: a task may not call pool_run on the same pool. */
void pool_run(struct pool *p, long tasks, void (*fn)(void *ctx, long task, int worker), void *ctx);
void pool_close(struct pool *p);
/* Processors this process may run on. */
int cpu_count(void);
/* Since some fixed moment. */
double seconds_now(void);

#endif
