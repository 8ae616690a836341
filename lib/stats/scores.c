#include "stats/scores.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "stats/decimal.h"
#include "stats/format.h"
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

int scores_write(const struct scores *s, const char *path, bool force, struct err *e)
{
    char id[256], number[DECIMAL_MAX];
    int experts = s->model.experts, rows = s->n_layers * experts, i, r;
    struct str out = {0};

    if (model_id_print(&s->model, id, sizeof id) < 0 || strchr(s->criterion, '\n'))
        return err_set(e, ERR_INPUT, "scores: the model or criterion line cannot be written");
    str_addf(&out, "%s\n#model\t%s\n", SCORES_MAGIC, id);
    if (*s->criterion)
        str_addf(&out, "#criterion\t%s\n", s->criterion);
    str_addf(&out, "%s\n", SCORES_COLUMNS);
    for (i = 0; i < rows; i++) {
        if (!isfinite(s->score[i])) {
            str_free(&out);
            return err_set(e, ERR_INPUT, "layer %d, expert %d: the score is not finite",
                           s->layer[i / experts], i % experts);
        }
        decimal_print(s->score[i], number);
        str_addf(&out, "%d\t%d\t%s\n", s->layer[i / experts], i % experts, number);
    }
    str_addf(&out, "#end\trows=%d\n", rows);
    r = str_ok(&out, e) ? -1 : file_write(path, out.p, out.n, force, e);
    str_free(&out);
    return r;
}

static const struct rows_format format = {
    .tag = "#moe-scores",
    .what = "criterion file",
    .header = "layer, expert, score",
    .columns = 1,
    .column = {{"score", false, -DBL_MAX, DBL_MAX}},
};

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
