/*
 * prune_verify.c -- the pruned model against its source, one expert at a time. It shares only the numbering
 * with the code that writes: every range is worked out again from both files' headers.
 */
#include <stdlib.h>
#include <string.h>

#include "surgery/mend.h"
#include "surgery/prune.h"
#include "surgery/verify.h"

enum { CHUNK = 4 << 20 };

struct check {
    const struct model *m;
    const struct cut *cut;
    const struct repair *repair; /* or NULL */
    struct checkpoint out;
    struct rewrite *progress; /* or NULL */
    unsigned char *a, *b;     /* [CHUNK] */
    uint64_t bytes;
    size_t tensors;
};

/* role: with an expert (>= 0) whose bytes begin at from_off, which may have been repaired. */
static int same(struct check *v, const struct tensor *from, uint64_t from_off, const struct tensor *to,
                uint64_t to_off, uint64_t n, const struct tensor_role *role, int expert, struct err *e)
{
    bool mended = expert >= 0 && mend_changes(v->repair, role, expert);
    uint64_t at = 0;

    while (n) {
        size_t k = n < CHUNK ? (size_t)n : CHUNK, i;

        if (checkpoint_read(&v->m->ckpt, from, from_off, v->a, k, e) ||
            checkpoint_read(&v->out, to, to_off, v->b, k, e) ||
            (v->progress ? rewrite_step(v->progress, k, e) : check_cancelled(e)))
            return -1;
        if (mended)
            mend_apply(v->repair, role, from, expert, at, v->a, k);
        if (memcmp(v->a, v->b, k) != 0) {
            for (i = 0; v->a[i] == v->b[i]; i++)
                ;
            return err_set(e, ERR_IO,
                           "verification failed: tensor '%s' of '%s' differs at byte %llu from '%s' of '%s'",
                           to->name, v->out.dir, (unsigned long long)(to_off + i), from->name, v->m->dir);
        }
        at += k;
        from_off += k;
        to_off += k;
        n -= k;
        v->bytes += k;
    }
    return 0;
}

/* axis: the dimension that counts experts now; -1: none does. */
static const struct tensor *verify_find(struct check *v, const char *name, const struct tensor *from,
                                        int axis, struct err *e)
{
    const struct tensor *to = checkpoint_find(&v->out, name);
    int i;

    if (!to) {
        err_set(e, ERR_INPUT, "verification failed: '%s' has no tensor '%s'", v->out.dir, name);
        return NULL;
    }
    v->tensors++;
    for (i = 0; to->rank == from->rank && i < to->rank; i++)
        if (to->shape[i] != (i == axis ? (uint64_t)v->cut->kept : from->shape[i]))
            break;
    if (i == from->rank && to->dtype == from->dtype)
        return to;
    err_set(e, ERR_INPUT,
            "verification failed: tensor '%s' of '%s' has another dtype or shape than it should", name,
            v->out.dir);
    return NULL;
}

static int check_tensor(struct check *v, const struct tensor *from, const struct tensor_role *r,
                        struct err *e)
{
    const struct tensor *to;
    uint64_t row;
    char *name;
    int j, number;

    if (r->role == ROLE_EXPERT) {
        number = cut_number(v->cut, r->layer, r->expert);
        if (number < 0)
            return 0;
        name = mem_printf(e, "%.*s%d%s", (int)r->digits, from->name, number,
                          from->name + r->digits + r->digits_n);
        to = name ? verify_find(v, name, from, -1, e) : NULL;
        free(name);
        return to ? same(v, from, 0, to, 0, from->size, r, r->expert, e) : -1;
    }
    if (r->role == ROLE_MTP && v->cut->drop_mtp)
        return 0;
    if (!counts_experts(r)) {
        to = verify_find(v, from->name, from, -1, e);
        return to ? same(v, from, 0, to, 0, from->size, r, -1, e) : -1;
    }
    to = verify_find(v, from->name, from, r->axis, e);
    if (!to)
        return -1;
    row = from->size / (uint64_t)v->cut->experts;
    for (j = 0; j < v->cut->experts; j++) {
        number = cut_number(v->cut, r->layer, j);
        if (number >= 0 && same(v, from, (uint64_t)j * row, to, (uint64_t)number * row, row, r, j, e))
            return -1;
    }
    return 0;
}

static int check_all(struct check *v, struct err *e)
{
    size_t i;

    for (i = 0; i < v->m->ckpt.n; i++)
        if (check_tensor(v, v->m->ckpt.tensor[i], &v->m->role[i], e))
            return -1;
    if (v->tensors != v->out.n)
        return err_set(e, ERR_INPUT, "verification failed: '%s' has %zu tensors instead of %zu", v->out.dir,
                       v->out.n, v->tensors);
    return 0;
}

int verify_cut(const struct model *m, const struct cut *c, const struct repair *repair, const char *out,
               struct rewrite *rw, uint64_t *bytes, struct err *e)
{
    struct check v = {.m = m, .cut = c, .repair = repair, .progress = rw};
    int r = -1;

    *bytes = 0;
    v.a = mem_new(1, CHUNK, e);
    v.b = mem_new(1, CHUNK, e);
    if (v.a && v.b && checkpoint_open(&v.out, out, m->containers, e) == 0) {
        r = checkpoint_tensors(&v.out, &m->arch, false, e) ? -1 : check_all(&v, e);
        *bytes = v.bytes;
        checkpoint_close(&v.out);
    }
    free(v.a);
    free(v.b);
    return r;
}

int prune_verify(const struct model *m, const struct plan *p, const char *out, uint64_t *bytes, struct err *e)
{
    struct cut c;
    int r;

    if (cut_from_plan(&c, m, p, e))
        return -1;
    r = verify_cut(m, &c, NULL, out, NULL, bytes, e);
    cut_free(&c);
    return r;
}
