/* resume.c -- saving beside the output, taking up again, refusing what is of another run. */
#include "observe/resume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

/* What s->part becomes after the first docs documents, which are not all. */
static struct stats_part part_of(const struct stats *s, const struct corpus *c, int64_t docs)
{
    struct stats_part part = s->part[0];

    part.documents = docs;
    part.tokens = c->doc[docs].first;
    return part;
}

/* A head like s, but of the first docs documents, with a run line that no complete file has: it cannot be
 * merged or taken for one. The strings stay those of s but for *run, which the caller frees. */
static int partial_head(struct stats *head, struct stats_part *part, char **run, const struct stats *s,
                        const struct corpus *c, int64_t docs, struct err *e)
{
    *part = part_of(s, c, docs);
    *run = mem_printf(e, "%s\tpartial=yes", s->run);
    *head = *s;
    head->part = part;
    head->run = *run;
    return *run ? 0 : -1;
}

/*
 * The statistics' rename is what finishes a pass: until then its matrices stand beside those of the pass
 * before, under this name, so that a run that is killed between the two leaves a pair that belongs together.
 * The caller frees.
 */
static char *next_name(const char *matrices, struct err *e)
{
    return mem_printf(e, "%s.next", matrices);
}

/* The matrices of the pass that was finished last take the place of those before. */
static int take_next(const char *next, const char *matrices, struct err *e)
{
    return rename(next, matrices) ? err_sys(e, "cannot rename to '%s'", matrices) : 0;
}

int resume_save(const struct observe_partial *p, const struct stats *s, struct matrices *mat,
                const struct corpus *c, int64_t docs, struct err *e)
{
    struct stats head;
    struct stats_part part;
    struct matrices m;
    char *run, *next = NULL;
    int status = partial_head(&head, &part, &run, s, c, docs, e);

    if (!status && mat) {
        matrices_mirror(mat);
        m = *mat;
        m.head = head;
        next = next_name(p->matrices, e);
        status = next ? matrices_write(&m, next, true, e) : -1;
    }
    if (!status)
        status = stats_write(&head, p->stats, true, e);
    if (!status && mat)
        status = take_next(next, p->matrices, e);
    free(next);
    free(run);
    return status;
}

/* Is what was read the same observation as s, and how far is it? */
static int check_head(const char *path, const struct stats *got, const struct stats *s,
                      const struct corpus *c, int64_t *docs, struct err *e)
{
    struct stats head;
    struct stats_part part;
    char *run;
    int64_t n = got->parts == 1 ? got->part[0].documents : 0;
    bool same;

    if (n < 1 || n >= c->docs || got->n_layers != s->n_layers || got->categories != s->categories)
        return err_set(e, ERR_INPUT, "'%s' is of another run: remove it, or resume that one", path);
    if (got->edition < EDITION)
        return err_set(
            e, ERR_UNKNOWN,
            "'%s' was left by an earlier version, which did not record all that this one does: remove "
            "it, or go on with that version",
            path);
    if (got->extras)
        return err_set(e, ERR_UNKNOWN,
                       "'%s' has column '%.60s', which this version cannot add to: remove it, or go on with "
                       "the version that wrote it",
                       path, got->extra[0].name);
    if (partial_head(&head, &part, &run, s, c, n, e))
        return -1;
    same = strcmp(got->run, head.run) == 0 && strcmp(got->part[0].digest, part.digest) == 0 &&
           got->part[0].shard == part.shard && got->part[0].shards == part.shards &&
           got->part[0].tokens == part.tokens;
    free(run);
    *docs = n;
    if (!same)
        return err_set(e, ERR_INPUT,
                       "'%s' is of another run (other data or options): remove it, or resume that one", path);
    return model_id_check(&got->model, path, &s->model, "this run", e);
}

static int load_matrices(const char *path, const struct stats *s, struct matrices *mat,
                         const struct corpus *c, int64_t docs, struct err *e)
{
    struct stats head = mat->head;
    struct matrices got;
    int64_t n;
    int status;

    if (matrices_read(&got, path, e)) {
        input_release(path);
        return -1;
    }
    status = check_head(path, &got.head, s, c, &n, e);
    if (!status && (n != docs || got.pooled != mat->pooled || got.inter != mat->inter))
        status = err_set(e, ERR_INPUT,
                         "'%s' is of another pass or run than the statistics beside it: remove both", path);
    if (!status)
        status = input_own(path, e);
    else
        input_release(path);
    if (!status) { /* the sums change places, the heads stay */
        struct matrices mine = *mat;

        *mat = got;
        mat->head = head;
        mine.head = got.head;
        got = mine;
    }
    matrices_free(&got);
    return status;
}

/* Those that belong to the statistics, of the two that there may be. */
static int load_either(const char *path, const struct stats *s, struct matrices *mat, const struct corpus *c,
                       int64_t docs, struct err *e)
{
    char *next = next_name(path, e);
    struct err ignored = {0};
    int status = next ? 0 : -1;

    if (next && path_exists(next) && load_matrices(next, s, mat, c, docs, &ignored) == 0)
        status = take_next(next, path, e);
    else if (next)
        status = load_matrices(path, s, mat, c, docs, e);
    free(next);
    return status;
}

static int load(const struct observe_partial *p, struct stats *s, struct matrices *mat,
                const struct corpus *c, int64_t *docs, struct err *e)
{
    struct expert_stats *cell = s->cell;
    struct stats got;
    int status;

    if (stats_read(&got, p->stats, e))
        return -1;
    status = check_head(p->stats, &got, s, c, docs, e) || input_own(p->stats, e) ? -1 : 0;
    if (!status && mat)
        status = load_either(p->matrices, s, mat, c, *docs, e);
    if (!status) {
        s->cell = got.cell;
        got.cell = cell;
    }
    stats_free(&got);
    return status;
}

/* Matrices of a pass whose statistics were not written any more: if they are of this run they may be replaced
 * wherever they are, as what is kept itself. */
static void own_left(const char *next, const struct stats *s, const struct corpus *c)
{
    struct err ignored = {0};
    struct matrices got;
    int64_t n;

    if (!path_exists(next))
        return;
    if (matrices_read(&got, next, &ignored)) {
        input_release(next);
        return;
    }
    if (check_head(next, &got.head, s, c, &n, &ignored) == 0)
        input_own(next, &ignored); /* if it fails, the output is refused */
    else
        input_release(next);
    matrices_free(&got);
}

/* What else would stand in the place of what is kept is not found after the first pass, or removed at the
 * end. */
static int check_names(const struct observe_partial *p, const struct stats *s, const struct corpus *c,
                       struct err *e)
{
    char *next = p->matrices ? next_name(p->matrices, e) : NULL;
    int r = output_check(p->stats, true, e);

    if (next)
        own_left(next, s, c);
    if (!r && p->matrices)
        r = !next || output_check(p->matrices, true, e) || output_check(next, true, e) ? -1 : 0;
    free(next);
    return r;
}

int resume_load(const struct observe_partial *p, struct stats *s, struct matrices *mat,
                const struct corpus *c, int64_t *docs, struct err *e)
{
    *docs = 0;
    if (path_exists(p->stats) && load(p, s, mat, c, docs, e))
        return -1;
    return check_names(p, s, c, e);
}

void observe_done(const struct observe_partial *p)
{
    char *next = p->matrices ? next_name(p->matrices, NULL) : NULL;

    unlink(p->stats);
    if (p->matrices)
        unlink(p->matrices);
    if (next)
        unlink(next); /* of a pass that was not finished, and then was */
    free(next);
}
