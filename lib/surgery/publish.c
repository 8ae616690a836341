/* publish.c -- the order of the steps, and a result that is opened before it gets its name. */
#include "surgery/publish.h"

#include <stdlib.h>

#include "surgery/carry.h"

/* Names, shapes, index and config.json fit together: what a loader looks at. */
static int open_result(const struct publish *p, const char *dir, struct err *e)
{
    struct model_options o = p->model ? *p->model : (struct model_options){0};
    struct model m;

    o.level = p->rw->m->cut_only ? MODEL_CUT : MODEL_RUN;
    if (model_open(&m, dir, &o, e)) {
        err_prefix(e, "the new model does not open");
        return -1;
    }
    model_close(&m);
    return 0;
}

static int write_card(const struct publish *p, const char *dir, struct err *e)
{
    struct card c = {.m = p->rw->m, .out = p->out, .command = p->command};
    struct str body = {0};
    int r;

    p->describe(p->ctx, &c, &body);
    c.body = body.p;
    r = str_ok(&body, e) ? -1 : card_write(&c, dir, e);
    str_free(&body);
    return r;
}

static int fill(const struct publish *p, const char *dir, struct err *e)
{
    return rewrite_write(p->rw, dir, p->config, p->config_n, p->put, p->ctx, e) ||
                   carry_files(p->rw->m, p->cut, dir, e) || open_result(p, dir, e) ||
                   (p->check && p->check(p->ctx, dir, e)) || write_card(p, dir, e)
               ? -1
               : 0;
}

uint64_t publish_source_bytes(const struct model *m)
{
    uint64_t n = 0;
    int i;

    for (i = 0; i < m->ckpt.shards; i++)
        n += m->ckpt.shard[i].file->size;
    return n;
}

int publish(struct publish *p, struct err *e)
{
    const struct model *m = p->rw->m;
    struct outdir d;
    int r;

    if (carry_check_target(m, p->out, e) || carry_bytes(m, &p->bytes_needed, e))
        return -1;
    p->bytes_needed += p->rw->w.bytes + p->config_n;
    if (p->dry_run)
        return disk_free(p->out, &p->bytes_free, e);
    if (carry_check_space(p->out, p->bytes_needed, &p->bytes_free, e) ||
        outdir_open(&d, p->out, p->force, carry_fit, (void *)m, e))
        return -1;
    r = fill(p, d.tmp, e) || outdir_commit(&d, e) ? -1 : 0;
    outdir_close(&d);
    return r;
}
