/* host_decode.c -- maps in codings that a device does not know, decoded on the host before they are packed.
 */
#include "load/host_decode.h"

#include <stdatomic.h>
#include <stdint.h>

#include "base/thread.h"

enum { TASK_ROWS = 64, ALIGN = 64 };

/* One part on its way to plain numbers. */
struct decoding {
    const struct stored *s;
    uint8_t *dst;
    bool bf16;
    atomic_bool bad;
};

static void decode_task(void *ctx, long task, int worker)
{
    struct decoding *d = ctx;
    int from = (int)task * TASK_ROWS, n = d->s->out - from < TASK_ROWS ? d->s->out - from : TASK_ROWS;
    size_t in = (size_t)d->s->in;

    (void)worker;
    if (!stored_rows(d->s, from, n, d->dst + (size_t)from * in * (d->bf16 ? 2 : 4), in, d->bf16))
        atomic_store(&d->bad, true);
}

static bool is_known(const struct device *d, const struct stored *s)
{
    return d->can.codings >> s->coding & 1;
}

static bool as_bf16(const struct device *d, const struct matrix_job *j)
{
    return d->bf16 && !j->f32;
}

static uint64_t part_bytes(const struct device *d, const struct matrix_job *j, const struct stored *s)
{
    uint64_t n = (uint64_t)s->out * (uint64_t)s->in * (as_bf16(d, j) ? 2 : 4);

    return is_known(d, s) ? 0 : (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Replaces the part by plain numbers at dst. */
static int decode_part(struct pool *pool, struct stored *s, uint8_t *dst, bool bf16, struct err *e)
{
    struct decoding d = {.s = s, .dst = dst, .bf16 = bf16};

    pool_run(pool, (s->out + TASK_ROWS - 1) / TASK_ROWS, decode_task, &d);
    if (atomic_load(&d.bad))
        return stored_fault(s, e);
    *s = stored_floats(bf16 ? DT_BF16 : DT_F32, dst, s->out, s->in, s->name);
    return 0;
}

static int decode_all(const struct device *d, struct matrix_job *job, int jobs, uint8_t *dst, struct err *e)
{
    struct pool *pool;
    int i, k, rc = 0;

    if (pool_open(&pool, d->threads, NULL, e))
        return -1;
    for (i = 0; i < jobs; i++)
        for (k = 0; k < job[i].parts && rc == 0; k++) {
            struct stored *s = &job[i].part[k];
            uint64_t bytes = part_bytes(d, &job[i], s);

            if (bytes)
                rc = decode_part(pool, s, dst, as_bf16(d, &job[i]), e);
            dst += bytes;
        }
    pool_close(pool);
    return rc;
}

/* Packs; a device knows less of what is wrong with a map than its tensors say. Always -1 if it fails. */
static int pack_known(struct device *d, struct matrix_job *job, int jobs, struct err *e)
{
    int i, k;

    if (d->ops->pack(d, job, jobs, e) == 0)
        return 0;
    for (i = 0; i < jobs && e->kind == ERR_INPUT; i++)
        for (k = 0; k < job[i].parts; k++)
            if (stored_damaged(&job[i].part[k])) {
                err_clear(e);
                return stored_fault(&job[i].part[k], e);
            }
    return -1;
}

int pack_any(struct device *d, struct matrix_job *job, int jobs, struct err *e)
{
    uint64_t bytes = 0;
    uint8_t *host;
    int i, k, rc;

    for (i = 0; i < jobs; i++)
        for (k = 0; k < job[i].parts; k++)
            bytes += part_bytes(d, &job[i], &job[i].part[k]);
    if (!bytes)
        return pack_known(d, job, jobs, e);
    host = d->ops->host_new(d, (size_t)bytes, e);
    rc = !host || decode_all(d, job, jobs, host, e) || pack_known(d, job, jobs, e) ? -1 : 0;
    d->ops->host_free(d, host);
    return rc;
}
