/* scores.c -- scores as rows. */
#include "stats/scores.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "stats/decimal.h"
#include "stats/rows.h"

int scores_new(struct scores *s, const struct model_id *id, const char *criterion, const int *layer,
               int n_layers, struct err *e)
{
    uint64_t rows;

    *s = (struct scores){.model = *id};
    if (!mul_u64((uint64_t)n_layers, (uint64_t)id->experts, &rows))
        return err_set(e, ERR_NOMEM, "too many layers and experts");
    s->criterion = mem_strdup(criterion, e);
    s->layer = mem_new((size_t)n_layers, sizeof *s->layer, e);
    s->score = mem_new(rows, sizeof *s->score, e);
    if (!s->criterion || !s->layer || !s->score) {
        scores_free(s);
        return -1;
    }
    s->n_layers = n_layers;
    memcpy(s->layer, layer, (size_t)n_layers * sizeof *layer);
    return 0;
}

void scores_free(struct scores *s)
{
    free(s->criterion);
    free(s->layer);
    free(s->score);
    *s = (struct scores){0};
}

static const struct rows_format format = {
    .tag = "#moe-scores",
    .what = "criterion file",
    .header = "layer, expert, score",
    .columns = 1,
    .column = {{"score", false, -DBL_MAX, DBL_MAX}},
};

int scores_write(const struct scores *s, const char *path, bool force, struct err *e)
{
    int experts = s->model.experts, rows = s->n_layers * experts, i;
    char number[DECIMAL_MAX];
    struct str out = {0};

    if (rows_head(&out, &format, &s->model, s->criterion, e))
        return -1;
    for (i = 0; i < rows; i++) {
        if (!isfinite(s->score[i])) {
            str_free(&out);
            return err_set(e, ERR_INPUT, "layer %d, expert %d: the score is not finite",
                           s->layer[i / experts], i % experts);
        }
        decimal_print(s->score[i], number);
        str_addf(&out, "%d\t%d\t%s\n", s->layer[i / experts], i % experts, number);
    }
    return rows_finish(&out, (size_t)rows, path, force, e);
}

int scores_read(struct scores *s, const char *path, struct err *e)
{
    struct rows r;
    size_t i, n;
    int status;

    *s = (struct scores){0};
    if (rows_read(&r, &format, path, e))
        return -1;
    status = scores_new(s, &r.model, r.criterion, r.layer, r.n_layers, e);
    n = status ? 0 : (size_t)s->n_layers * (size_t)s->model.experts;
    for (i = 0; i < n; i++)
        s->score[i] = r.value[i][0];
    rows_free(&r);
    return status;
}
