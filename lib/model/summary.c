/* summary.c -- bytes and parameters by what they are for; a look at every number. */
#include "model/summary.h"

#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "base/words.h"
#include "model/mixer.h"

enum { CHUNK = 4 << 20 }; /* bytes read at once when values are checked */

void model_summarize(const struct model *m, struct model_summary *s)
{
    uint64_t expert_params = 0, mtp_params = 0, n;
    size_t i;
    int k;

    *s = (struct model_summary){0};
    for (k = 0; k < m->ckpt.shards; k++)
        s->file_bytes += m->ckpt.shard[k].file->size;
    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];

        n = role_weights(&m->role[i], tensor_count(t));
        s->params += n;
        if (m->role[i].role == ROLE_EXPERT || m->role[i].role == ROLE_EXPERTS) {
            s->expert_bytes += t->size;
            expert_params += n;
        } else if (m->role[i].role == ROLE_ROUTER) {
            s->router_bytes += t->size;
        } else if (m->role[i].role == ROLE_MTP) {
            s->mtp_bytes += t->size;
            s->mtp_tensors++;
            mtp_params += n;
        } else {
            s->other_bytes += t->size;
        }
    }
    s->active = s->params - mtp_params - expert_params +
                expert_params / (uint64_t)m->arch.experts * (uint64_t)m->arch.topk;
}

uint64_t model_kv_bytes(const struct model *m, int64_t context)
{
    uint64_t bytes = 0;
    int i;

    for (i = 0; i < m->arch.layers; i++)
        bytes += mixer_of(&m->arch.layer[i])->state(&m->arch.layer[i], context, 2);
    return bytes;
}

/* ---- values ---- */

struct value_job {
    const struct model *m;
    struct value_problem *found; /* [ckpt.n], what == NULL: none */
    size_t first;                /* tensor of task 0 */
    struct err *errs;            /* [threads] */
    unsigned char **buf;         /* [threads] [CHUNK] */
};

static bool zeros(const unsigned char *p, size_t n)
{
    return n && !p[0] && memcmp(p, p + 1, n - 1) == 0;
}

/* The longest run of zeros in one expert of a tensor (in other tensors, in all of it), page by page. */
struct zero_run {
    uint64_t slice; /* bytes */
    uint64_t at;
    uint64_t run, longest; /* that ends here; so far */
};

static void look_for_zeros(struct zero_run *z, const unsigned char *p, size_t n)
{
    enum { PAGE = 4096 };

    while (n) {
        uint64_t in_slice = z->at % z->slice, left = z->slice - in_slice;
        size_t k = left < n ? (size_t)left : n;

        k = k < PAGE ? k : PAGE;
        z->run = zeros(p, k) ? (in_slice ? z->run : 0) + k : 0;
        z->longest = z->run > z->longest ? z->run : z->longest;
        z->at += k;
        p += k;
        n -= k;
    }
}

/* Downloads leave holes of some megabytes in large tensors; a row of a vocabulary may be nobody's. */
static bool is_hole(const struct zero_run *z, bool vocabulary)
{
    enum { LARGE = 1 << 20 };

    return z->longest &&
           (vocabulary ? z->longest >= z->slice / 2 : z->longest >= z->slice / 4 || z->longest >= LARGE);
}

/* Biases may well be zero; weights are not, nor are scales, but for powers of two. */
static bool may_be_zero(const struct model *m, size_t i)
{
    const struct tensor_role *r = &m->role[i];

    if (r->use == USE_SCALE || r->use == USE_GLOBAL)
        return !r->piece || r->piece->e8m0;
    return r->use != USE_WEIGHT || !(r->piece || ends_with(m->ckpt.tensor[i]->name, ".weight"));
}

/* What is wrong with one of n elements of tensor i, the first that is, and which; NULL: nothing. */
static const char *value_fault(const struct model *m, size_t i, enum dtype type, const unsigned char *p,
                               size_t n, size_t *at)
{
    const struct tensor_role *r = &m->role[i];
    uint64_t inputs = tensor_count(m->ckpt.tensor[i]), groups;
    uint32_t group;

    if (r->use != USE_ORDER || !r->as || dtype_bytes(type) != sizeof group)
        return dtype_bad(type, p, n, at);
    groups = r->as->block.in ? (inputs + (uint64_t)r->as->block.in - 1) / (uint64_t)r->as->block.in : 1;
    for (*at = 0; *at < n; ++*at) {
        memcpy(&group, p + *at * sizeof group, sizeof group);
        if (group >= groups)
            return "a number of a group that there is not";
    }
    return NULL;
}

static void check_tensor(void *ctx, long task, int worker)
{
    struct value_job *j = ctx;
    size_t i = j->first + (size_t)task;
    const struct tensor *t = j->m->ckpt.tensor[i];
    const struct piece *p = j->m->role[i].piece;
    enum dtype type = p && p->e8m0 ? DT_F8_E8M0 : t->dtype;
    bool each = j->m->role[i].role == ROLE_EXPERTS && t->rank && t->shape[0];
    struct zero_run z = {.slice = each ? t->size / t->shape[0] : t->size};
    struct value_problem *found = &j->found[i];
    unsigned block = dtype_bytes(type), elements = dtype_elements(type);
    uint64_t off, step = CHUNK / block * block;
    size_t at;

    for (off = 0; off < t->size && !j->errs[worker].kind; off += step) {
        size_t n = (size_t)(t->size - off < step ? t->size - off : step);

        if (check_cancelled(&j->errs[worker]) ||
            checkpoint_read(&j->m->ckpt, t, off, j->buf[worker], n, &j->errs[worker]))
            return;
        if ((found->what = value_fault(j->m, i, type, j->buf[worker], n / block * elements, &at)) != NULL) {
            *found = (struct value_problem){t->name, found->what, off / block * elements + at, false};
            return;
        }
        look_for_zeros(&z, j->buf[worker], n);
    }
    if (is_hole(&z, t->rank == 2 && t->shape[0] == (uint64_t)j->m->arch.vocab) && !may_be_zero(j->m, i))
        *found = (struct value_problem){t->name, "nothing but zeros", 0, true};
}

int model_check_values(const struct model *m, int threads,
                       void (*problem)(void *ctx, const struct value_problem *p),
                       void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct err *e)
{
    struct value_job j = {.m = m};
    struct pool *pool = NULL;
    uint64_t done = 0;
    size_t from, to, i;
    int w, n_threads = 0, r = -1;

    if (pool_open(&pool, threads, NULL, e))
        return -1;
    n_threads = pool_threads(pool);
    j.found = mem_new(m->ckpt.n, sizeof *j.found, e);
    j.errs = mem_new((size_t)n_threads, sizeof *j.errs, e);
    j.buf = mem_new((size_t)n_threads, sizeof *j.buf, e);
    for (w = 0; j.buf && w < n_threads; w++)
        if (!(j.buf[w] = mem_new(CHUNK, 1, e)))
            goto done;
    if (!j.found || !j.errs || !j.buf)
        goto done;
    for (from = 0; from < m->ckpt.n; from = to) {
        uint64_t bytes = 0;

        for (to = from; to < m->ckpt.n && bytes < (uint64_t)CHUNK * 64; to++)
            bytes += m->ckpt.tensor[to]->size;
        j.first = from;
        pool_run(pool, (long)(to - from), check_tensor, &j);
        done += bytes;
        if (progress)
            progress(ctx, done, m->ckpt.tensor_bytes);
    }
    for (w = 0; w < n_threads; w++)
        if (j.errs[w].kind) {
            err_set(e, j.errs[w].kind, "%s", j.errs[w].msg);
            goto done;
        }
    for (i = 0; i < m->ckpt.n; i++)
        if (j.found[i].what && problem)
            problem(ctx, &j.found[i]);
    r = 0;
done:
    for (w = 0; j.buf && w < n_threads; w++)
        free(j.buf[w]);
    free(j.buf);
    free(j.errs);
    free(j.found);
    pool_close(pool);
    return r;
}
