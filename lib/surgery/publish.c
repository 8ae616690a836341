/* publish.c -- the order of the steps, and a result that is opened before it gets its name. */
#include "surgery/publish.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
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

/* The model at `path`, a folder that is there or a file. */
static int fill(const struct publish *p, const char *path, struct err *e)
{
    const struct model *m = p->rw->m;

    if (rewrite_write(p->rw, path, p->config, p->config_n, p->put, p->ctx, e) ||
        carry_files(m, p->cut, p->rw->same_weights, path, e) || open_result(p, path, e) ||
        (p->check && p->check(p->ctx, path, e)))
        return -1;
    return m->ckpt.container->folder ? write_card(p, path, e) : 0;
}

static int publish_folder(const struct publish *p, struct err *e)
{
    struct outdir d;
    int r;

    if (outdir_open(&d, p->out, p->force, carry_fit, (void *)p->rw->m, e))
        return -1;
    r = fill(p, d.tmp, e) || outdir_commit(&d, e) ? -1 : 0;
    outdir_close(&d);
    return r;
}

/* The container's writer replaces the temporary file, which then gets the name. */
static int publish_file(const struct publish *p, struct err *e)
{
    struct wfile w;
    int r;

    if (strcmp(p->out, "-") == 0)
        return err_set(e, ERR_USAGE, "a model cannot be written to standard output");
    if (wfile_open(&w, p->out, p->force, e))
        return -1;
    r = fill(p, w.tmp, e) || wfile_commit(&w, e) ? -1 : 0;
    wfile_close(&w);
    return r;
}

uint64_t publish_source_bytes(const struct model *m)
{
    uint64_t n = 0;
    int i;

    for (i = 0; i < m->ckpt.shards; i++)
        n += m->ckpt.shard[i].file->size;
    return n;
}

enum { PROBE_BYTES = 4 << 20 };
#define PROBE_SECONDS 0.25

/* Reads tensors from one end of the model to the other, a little of each. */
static int probe_reading(struct publish *p, struct err *e)
{
    const struct checkpoint *c = &p->rw->m->ckpt;
    uint8_t *buf = mem_new(PROBE_BYTES, 1, e);
    double t0 = seconds_now(), spent = 0;
    uint64_t done = 0;
    size_t i;
    int rc = buf ? 0 : -1;

    for (i = 0; rc == 0 && i < c->n && spent < PROBE_SECONDS; i++) {
        const struct tensor *t = c->tensor[i];
        size_t n = t->size < PROBE_BYTES ? (size_t)t->size : PROBE_BYTES;

        rc = checkpoint_read(c, t, 0, buf, n, e);
        done += n;
        spent = seconds_now() - t0;
    }
    free(buf);
    p->read_rate = (double)done / (spent > 1e-9 ? spent : 1e-9);
    p->seconds = p->read_rate > 0 ? (double)(p->bytes_read + p->bytes_needed) / p->read_rate : 0;
    return rc;
}

int publish(struct publish *p, struct err *e)
{
    const struct model *m = p->rw->m;
    bool folder = m->ckpt.container->folder;

    if (carry_check_target(m, p->out, e) || carry_bytes(m, &p->bytes_needed, e))
        return -1;
    p->bytes_needed += p->rw->w.bytes + (folder ? p->config_n : 0);
    if (p->dry_run)
        return disk_free(p->out, &p->bytes_free, e) || probe_reading(p, e) ? -1 : 0;
    if (carry_check_space(p->out, p->bytes_needed, &p->bytes_free, e))
        return -1;
    return folder ? publish_folder(p, e) : publish_file(p, e);
}
