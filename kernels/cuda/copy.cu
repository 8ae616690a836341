/* copy.cu -- copies beside computing: a stream up, a stream down, and events that say how far they are. */
#include "backend.h"

int cuda_lanes_open(struct cuda *c)
{
    struct lanes *l = &c->lanes;

    for (cudaStream_t &s : l->stream)
        cuda_ok(c, cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "a stream");
    cuda_ok(c, cudaEventCreateWithFlags(&l->computed, cudaEventDisableTiming), "an event");
    for (cudaEvent_t &done : l->done)
        cuda_ok(c, cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "an event");
    return c->failed == cudaSuccess ? 0 : -1;
}

void cuda_lanes_close(struct cuda *c)
{
    struct lanes *l = &c->lanes;

    for (cudaStream_t s : l->stream)
        if (s) {
            cudaStreamSynchronize(s);
            cudaStreamDestroy(s);
        }
    for (cudaEvent_t done : l->done)
        if (done)
            cudaEventDestroy(done);
    if (l->computed)
        cudaEventDestroy(l->computed);
}

/* The event of a copy; NULL: it is done, as an event is used again only then. Under the lock. */
static cudaEvent_t event_of(struct cuda *c, uint64_t ticket)
{
    return ticket == 0 || ticket + TICKETS <= c->lanes.last ? NULL : c->lanes.done[ticket % TICKETS];
}

/* Under the lock. */
static uint64_t copy(struct cuda *c, int lane, void *dst, const void *src, size_t n, enum cudaMemcpyKind kind)
{
    struct lanes *l = &c->lanes;
    cudaEvent_t done = l->done[(l->last + 1) % TICKETS];
    cudaError_t rc = cudaEventSynchronize(done);

    if (rc == cudaSuccess)
        rc = cudaMemcpyAsync(dst, src, n, kind, l->stream[lane]);
    if (rc == cudaSuccess)
        rc = cudaEventRecord(done, l->stream[lane]);
    if (rc != cudaSuccess && c->failed == cudaSuccess) {
        c->failed = rc;
        c->failed_in = "a copy";
    }
    return ++l->last;
}

uint64_t cuda_copy_up(struct device *d, void *dst, const void *src, size_t n, uint64_t after)
{
    struct cuda *c = cuda_of(d);
    cudaEvent_t before;
    uint64_t ticket;

    pthread_mutex_lock(&c->lock);
    before = event_of(c, after);
    if (before)
        cudaStreamWaitEvent(c->lanes.stream[LANE_UP], before, 0);
    ticket = copy(c, LANE_UP, dst, src, n, cudaMemcpyHostToDevice);
    pthread_mutex_unlock(&c->lock);
    return ticket;
}

uint64_t cuda_copy_down(struct device *d, void *dst, const void *src, size_t n)
{
    struct cuda *c = cuda_of(d);
    uint64_t ticket;

    pthread_mutex_lock(&c->lock);
    cudaEventRecord(c->lanes.computed, cudaStreamLegacy);
    cudaStreamWaitEvent(c->lanes.stream[LANE_DOWN], c->lanes.computed, 0);
    ticket = copy(c, LANE_DOWN, dst, src, n, cudaMemcpyDeviceToHost);
    pthread_mutex_unlock(&c->lock);
    return ticket;
}

void cuda_await_copy(struct device *d, uint64_t ticket)
{
    struct cuda *c = cuda_of(d);
    cudaError_t rc = cudaSuccess;
    cudaEvent_t done;

    pthread_mutex_lock(&c->lock);
    done = event_of(c, ticket);
    if (done)
        rc = cudaStreamWaitEvent(cudaStreamLegacy, done, 0);
    pthread_mutex_unlock(&c->lock);
    cuda_ok(c, rc, "a copy");
}

void cuda_finish_copy(struct device *d, uint64_t ticket)
{
    struct cuda *c = cuda_of(d);
    cudaEvent_t done;

    pthread_mutex_lock(&c->lock);
    done = event_of(c, ticket);
    pthread_mutex_unlock(&c->lock);
    /* should the event be used again meanwhile, the copy was done */
    if (done)
        cuda_ok(c, cudaEventSynchronize(done), "a copy");
}
