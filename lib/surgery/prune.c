/* prune.c -- which bytes of every tensor stay, and where they go. */
#include "surgery/prune.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "surgery/carry.h"
#include "surgery/config_edit.h"
#include "surgery/mend.h"
#include "surgery/publish.h"
#include "surgery/verify.h"

#define KEY_MODEL "moe-tools.model"
#define KEY_PLAN  "moe-tools.plan"

/* ---- what is written ---- */

/* Tensor i of the source, if anything of it stays. */
static int add_tensor(struct rewrite *rw, const struct cut *c, size_t i, struct err *e)
{
    const struct tensor_role *r = &rw->m->role[i];
    const struct tensor *from = rw->m->ckpt.tensor[i];
    int number = r->role == ROLE_EXPERT ? cut_number(c, r->layer, r->expert) : 0;
    struct out_tensor *t;

    if (number < 0 || (r->role == ROLE_MTP && c->drop_mtp))
        return 0;
    t = rewrite_add(rw, i, e);
    if (!t)
        return -1;
    if (counts_experts(r)) {
        if (from->rank <= r->axis || from->shape[r->axis] != (uint64_t)c->experts ||
            (r->axis && from->shape[0] != 1))
            return err_set(e, ERR_INPUT, "'%s': tensor '%s' does not hold one row for each of %d experts",
                           rw->m->dir, from->name, c->experts);
        t->t.shape[r->axis] = (uint64_t)c->kept;
    } else if (r->role == ROLE_EXPERT && number != r->expert) {
        t->t.name = rewrite_name(rw,
                                 mem_printf(e, "%.*s%d%s", (int)r->digits, from->name, number,
                                            from->name + r->digits + r->digits_n),
                                 e);
        if (!t->t.name)
            return -1;
    }
    return 0;
}

static int add_tensors(struct rewrite *rw, const struct cut *c, struct err *e)
{
    size_t *order, n, i;
    int shard, r = 0;

    for (shard = 0; !r && shard < rw->m->ckpt.shards; shard++) {
        if (rewrite_order(rw->m, shard, &order, &n, e))
            return -1;
        for (i = 0; i < n && !r; i++)
            r = add_tensor(rw, c, order[i], e);
        free(order);
    }
    return r;
}

enum { METAS = 3 };

static int prepare(struct rewrite *rw, const struct model *m, const struct cut *c,
                   const struct container_meta meta[METAS], struct err *e)
{
    if (rewrite_open(rw, m, meta, METAS, e) || add_tensors(rw, c, e) || rewrite_sizes(rw, e)) {
        rewrite_free(rw);
        return -1;
    }
    return 0;
}

static int cut_size(const struct model *m, const struct cut *c, uint64_t *bytes, struct err *e)
{
    static const char any[HASH_HEX] = "00000000000000000000000000000000"; /* as long as the real ones */
    char *record = cut_record(c, m, e);
    const struct container_meta meta[METAS] = {{CUT_KEY, record}, {KEY_MODEL, any}, {KEY_PLAN, any}};
    struct rewrite rw;
    int r = record ? prepare(&rw, m, c, meta, e) : -1;

    if (!r) {
        *bytes = rw.w.bytes;
        rewrite_free(&rw);
    }
    free(record);
    return r;
}

int prune_size(const struct model *m, int keep, uint64_t *bytes, struct err *e)
{
    struct cut c;
    int r;

    if (cut_first(&c, m, keep, e))
        return -1;
    r = cut_size(m, &c, bytes, e);
    cut_free(&c);
    return r;
}

int prune_plan_size(const struct model *m, const struct plan *p, uint64_t *bytes, struct err *e)
{
    struct cut c;
    int r;

    if (cut_from_plan(&c, m, p, e))
        return -1;
    r = cut_size(m, &c, bytes, e);
    cut_free(&c);
    return r;
}

/* ---- writing ---- */

struct job {
    struct rewrite *rw;
    const struct cut *cut;
    const struct plan *plan;
    const struct prune_options *o;
    struct prune_report *r;
};

enum { CHUNK = 1 << 20 };

/* All n bytes of an expert in a tensor, where they begin at byte from, repaired. */
static int put_mended(const struct job *j, const struct out_tensor *t, int expert, uint64_t from, uint64_t n,
                      struct err *e)
{
    char *buf = mem_new_aligned(CHUNK, 1, e);
    uint64_t at = 0;
    int ret = buf ? 0 : -1;

    while (at < n && !ret) {
        size_t k = n - at < CHUNK ? (size_t)(n - at) : CHUNK;

        ret = checkpoint_read(&j->rw->m->ckpt, t->from, from + at, buf, k, e);
        if (!ret) {
            mend_apply(j->o->repair, t->role, t->from, expert, at, buf, k);
            ret = rewrite_bytes(j->rw, buf, k, e);
        }
        at += k;
    }
    free(buf);
    return ret;
}

static bool mended(const struct job *j, const struct out_tensor *t, int expert)
{
    return mend_changes(j->o->repair, t->role, expert);
}

/* One row for each expert, those of consecutive ones together. */
static int put_rows(const struct job *j, const struct out_tensor *t, struct err *e)
{
    const int *old = j->cut->old + (t->role->layer < 0 ? 0 : t->role->layer * j->cut->kept);
    uint64_t row = t->from->size / (uint64_t)j->cut->experts;
    int k, run;

    for (k = 0; k < j->cut->kept; k += run) {
        run = 1;
        if (mended(j, t, old[k])) {
            if (put_mended(j, t, old[k], (uint64_t)old[k] * row, row, e))
                return -1;
            continue;
        }
        while (k + run < j->cut->kept && old[k + run] == old[k] + run && !mended(j, t, old[k + run]))
            run++;
        if (rewrite_copy(j->rw, t->from, (uint64_t)old[k] * row, (uint64_t)run * row, e))
            return -1;
    }
    return 0;
}

static int put_tensor(void *ctx, const struct out_tensor *t, struct err *e)
{
    const struct job *j = ctx;

    if (counts_experts(t->role))
        return put_rows(j, t, e);
    if (t->role->role == ROLE_EXPERT && mended(j, t, t->role->expert))
        return put_mended(j, t, t->role->expert, 0, t->from->size, e);
    return rewrite_copy(j->rw, t->from, 0, t->from->size, e);
}

/* ---- what is said of it ---- */

static int verify(void *ctx, const char *dir, struct err *e)
{
    struct job *j = ctx;

    return j->o->verify ? verify_cut(j->rw->m, j->cut, j->o->repair, dir, j->rw, &j->r->bytes_verified, e)
                        : 0;
}

static void prune_describe(void *ctx, struct card *card, struct str *s)
{
    const struct job *j = ctx;
    const struct prune_report *r = j->r;
    const char *container = j->rw->m->ckpt.container->name;
    char before[32], after[32];
    const char *c;

    card->tag = "pruned";
    str_addf(s,
             "Each mixture-of-experts layer keeps %d of its %d routed experts. Every tensor that stays is a "
             "byte-for-byte copy%s: nothing was retrained, merged or requantized.\n\n",
             r->experts_after, r->experts_before,
             j->o->repair ? " (but for the repair below, in the experts' down projections)" : "");
    str_adds(s, "| | before | after |\n|---|---|---|\n");
    str_addf(s, "| routed experts per layer | %d | %d |\n", r->experts_before, r->experts_after);
    str_addf(s, "| experts per token | %d | %d |\n", r->topk_before, r->topk_after);
    str_addf(s, "| %s | %s (%llu bytes) | %s (%llu bytes) |\n", container, num_bytes(r->bytes_before, before),
             (unsigned long long)r->bytes_before, num_bytes(r->bytes_after, after),
             (unsigned long long)r->bytes_after);
    if (r->mtp_tensors)
        str_adds(s, "\nThe layers that predict further tokens (MTP) were dropped.\n");
    str_adds(s, "\n- Criterion: ");
    for (c = *j->plan->criterion ? j->plan->criterion : "not recorded"; *c; c++)
        str_addc(s, *c == '\t' ? ' ' : *c);
    str_addf(s, "\n- Plan: %s, made for the model with the digest %s%s\n",
             j->o->plan_name ? j->o->plan_name : "(unnamed)", j->plan->model.digest,
             r->crossed ? ", which is another model (--force)" : "");
    if (j->o->repair)
        str_addf(s, "- Repair: %s, %s\n", j->o->repair_name ? j->o->repair_name : "(unnamed)",
                 j->o->repair->bias ? "added to the biases" : "a factor for each expert");
    str_addf(s, "- Which experts are left: the metadata key `" CUT_KEY "` of every %s file\n", container);
    if (r->bytes_verified)
        str_addf(s, "- Verified: all %llu tensor bytes were read back and compared with the base model\n",
                 (unsigned long long)r->bytes_verified);
    else
        str_adds(s,
                 "- Verified: names, shapes and sizes; the bytes were not read back (--verify does that)\n");
}

/* ---- all of it ---- */

static int check_digest(const struct model *m, const struct plan *p, const struct prune_options *o,
                        struct prune_report *r, char digest[HASH_HEX], struct err *e)
{
    if (model_digest(m, digest, e))
        return -1;
    r->crossed = strcmp(digest, p->model.digest) != 0;
    if (!r->crossed || o->cross_digest)
        return 0;
    return err_set(e, ERR_INPUT,
                   "the plan was made from a model with the digest %s, '%s' has %s: its experts are not the "
                   "ones that were judged; --force uses the plan all the same",
                   p->model.digest, m->dir, digest);
}

static void plan_digest(const struct plan *p, const struct repair *repair, const char *record,
                        char hash[HASH_HEX], struct str *text)
{
    str_addf(text, "%s\n%s\n%s\n", p->model.digest, p->criterion, record);
    if (repair)
        str_add(text, repair->value,
                (size_t)repair->n_layers * (size_t)repair->model.experts * (size_t)repair->width *
                    sizeof *repair->value);
    hash_once(text->p, text->n, hash);
}

static int prune_run(struct job *j, const char *out, struct err *e)
{
    const struct model *m = j->rw->m;
    const struct prune_options *o = j->o;
    struct prune_report *r = j->r;
    struct publish p = {.rw = j->rw,
                        .put = put_tensor,
                        .check = verify,
                        .describe = prune_describe,
                        .ctx = j,
                        .cut = j->cut,
                        .out = out,
                        .command = o->command,
                        .model = o->model,
                        .force = o->force,
                        .dry_run = o->dry_run};
    struct config_changes changes;
    char *config;
    int ret;

    if (carry_check_cut(m, j->cut, e) || config_cut(m, j->cut, &config, &p.config_n, &changes, e))
        return -1;
    p.config = config;
    r->topk_after = changes.topk;
    r->mtp_config = changes.mtp && m->ckpt.container->folder;
    r->container = m->ckpt.container->name;
    r->temperature = changes.temperature;
    r->experts_before = m->arch.experts;
    r->experts_after = j->cut->kept;
    r->topk_before = m->arch.topk;
    r->bytes_before = publish_source_bytes(m);
    r->bytes_after = j->rw->w.bytes;
    r->tensor_bytes_after = j->rw->w.tensor_bytes;
    r->files = j->rw->w.files;
    j->rw->progress = o->progress;
    j->rw->progress_ctx = o->progress_ctx;
    j->rw->total *= o->verify ? 2 : 1;
    p.bytes_read = r->tensor_bytes_after * (o->verify ? 3 : 1); /* then both sides once more */
    ret = publish(&p, e);
    r->bytes_read = p.bytes_read;
    r->read_rate = p.read_rate;
    r->seconds = p.seconds;
    r->bytes_needed = p.bytes_needed;
    r->bytes_free = p.bytes_free;
    free(config);
    return ret;
}

/* Multi-token-prediction layers that are about to go. */
static int check_mtp(const struct model *m, const struct cut *c, bool refuse, int *dropped, struct err *e)
{
    size_t i;

    for (i = 0; c->drop_mtp && i < m->ckpt.n; i++) {
        if (m->role[i].role != ROLE_MTP)
            continue;
        if (refuse)
            return err_set(e, ERR_INPUT,
                           "'%s': tensor '%s' belongs to a multi-token-prediction layer, which pruning would "
                           "drop; --mtp drop does",
                           m->dir, m->ckpt.tensor[i]->name);
        ++*dropped;
    }
    return 0;
}

static int prune_to(const struct model *m, const struct cut *c, const struct plan *p,
                    const struct container_meta meta[METAS], const char *out, const struct prune_options *o,
                    struct prune_report *r, struct err *e)
{
    struct rewrite rw;
    int ret;

    if (prepare(&rw, m, c, meta, e))
        return -1;
    ret = prune_run(&(struct job){&rw, c, p, o, r}, out, e);
    rewrite_free(&rw);
    return ret;
}

int prune_model(const struct model *m, const struct plan *p, const char *out, const struct prune_options *o,
                struct prune_report *r, struct err *e)
{
    char digest[HASH_HEX], hash[HASH_HEX], *record = NULL;
    struct str text = {0};
    struct cut c;
    int ret = -1;

    *r = (struct prune_report){0};
    if (cut_from_plan(&c, m, p, e))
        return -1;
    if (check_mtp(m, &c, o->refuse_mtp, &r->mtp_tensors, e) || check_digest(m, p, o, r, digest, e) ||
        mend_check(o->repair, m, p, e) || !(record = cut_record(&c, m, e)))
        goto done;
    plan_digest(p, o->repair, record, hash, &text);
    if (str_ok(&text, e) == 0)
        ret = prune_to(
            m, &c, p,
            (const struct container_meta[METAS]){{CUT_KEY, record}, {KEY_MODEL, digest}, {KEY_PLAN, hash}},
            out, o, r, e);
done:
    str_free(&text);
    free(record);
    cut_free(&c);
    return ret;
}
