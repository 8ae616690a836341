/* plan.c -- a plan as rows, kept or not. */
#include "stats/plan.h"

#include <float.h>
#include <stdlib.h>

#include "base/mem.h"
#include "stats/decimal.h"
#include "stats/rows.h"

struct plan_row *plan_rows(const struct plan *p, int layer_index)
{
    return p->row + (size_t)layer_index * (size_t)p->model.experts;
}

int plan_kept(const struct plan *p, int layer_index)
{
    const struct plan_row *row = plan_rows(p, layer_index);
    int i, kept = 0;

    for (i = 0; i < p->model.experts; i++)
        kept += row[i].keep;
    return kept;
}

int plan_kept_digest(const struct plan *p, char out[HASH_HEX], struct err *e)
{
    struct str s = {0};
    int l, i, bad;

    for (l = 0; l < p->n_layers; l++) {
        str_addf(&s, "%d:", p->layer[l]);
        for (i = 0; i < p->model.experts; i++)
            str_addc(&s, plan_rows(p, l)[i].keep ? '1' : '0');
        str_addc(&s, '\n');
    }
    bad = str_ok(&s, e);
    if (!bad)
        hash_once(s.p, s.n, out);
    str_free(&s);
    return bad;
}

int plan_new(struct plan *p, const struct model_id *id, const char *criterion, const int *layer, int n_layers,
             struct err *e)
{
    uint64_t rows;
    int l, i;

    *p = (struct plan){.model = *id};
    if (!mul_u64((uint64_t)n_layers, (uint64_t)id->experts, &rows))
        return err_set(e, ERR_NOMEM, "too many layers and experts");
    p->criterion = mem_strdup(criterion, e);
    p->layer = mem_new((size_t)n_layers, sizeof *p->layer, e);
    p->row = mem_new(rows, sizeof *p->row, e);
    if (!p->criterion || !p->layer || !p->row) {
        plan_free(p);
        return -1;
    }
    p->n_layers = n_layers;
    for (l = 0; l < n_layers; l++) {
        struct plan_row *row = plan_rows(p, l);

        p->layer[l] = layer[l];
        for (i = 0; i < id->experts; i++)
            row[i] = (struct plan_row){.layer = layer[l], .expert = i};
    }
    return 0;
}

void plan_free(struct plan *p)
{
    free(p->criterion);
    free(p->layer);
    free(p->row);
    *p = (struct plan){0};
}

static const struct rows_format format = {
    .tag = "#moe-plan",
    .what = "plan",
    .header = "layer, expert, keep, score, rank",
    .columns = 3,
    .column = {{"keep", true, 0, 1}, {"score", false, -DBL_MAX, DBL_MAX}, {"rank", true, 1, 0}},
};

int plan_write(const struct plan *p, const char *path, bool force, struct err *e)
{
    size_t rows = (size_t)p->n_layers * (size_t)p->model.experts, i;
    char score[DECIMAL_MAX];
    struct str out = {0};

    if (rows_head(&out, &format, &p->model, p->criterion, e))
        return -1;
    for (i = 0; i < rows; i++) {
        const struct plan_row *row = &p->row[i];

        decimal_print(row->score, score);
        str_addf(&out, "%d\t%d\t%d\t%s\t%d\n", row->layer, row->expert, row->keep, score, row->rank);
    }
    return rows_finish(&out, rows, path, force, e);
}

int plan_read(struct plan *p, const char *path, struct err *e)
{
    struct rows r;
    size_t i, n;
    int status;

    *p = (struct plan){0};
    if (rows_read(&r, &format, path, e))
        return -1;
    status = plan_new(p, &r.model, r.criterion, r.layer, r.n_layers, e);
    n = status ? 0 : (size_t)p->n_layers * (size_t)p->model.experts;
    for (i = 0; i < n; i++) {
        p->row[i].keep = r.value[i][0] == 1;
        p->row[i].score = r.value[i][1];
        p->row[i].rank = (int)r.value[i][2];
    }
    rows_free(&r);
    return status;
}
