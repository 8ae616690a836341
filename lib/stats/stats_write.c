/* stats_write.c -- writing a statistics file, as moe-stats(5) says; stats_read.c is its inverse. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "stats/decimal.h"
#include "stats/fields.h"
#include "stats/stats_format.h"
#include "stats/stats.h"

static int add_header(struct str *out, const struct stats *s, struct err *e)
{
    char id[256], part[STATS_PART_MAX];
    int i;

    if (model_id_print(&s->model, id, sizeof id) < 0 || strchr(s->run, '\n'))
        return err_set(e, ERR_INPUT, "statistics: the model or run line cannot be written");
    str_addf(out, "%s\n#model\t%s\n#run%s%s\n", STATS_MAGIC, id, *s->run ? "\t" : "", s->run);
    for (i = 0; i < s->parts; i++) {
        stats_part_print(&s->part[i], part);
        str_addf(out, "#part\t%s\n", part);
    }
    str_adds(out, STATS_LEADING);
    for (i = 0; i < M_COUNT; i++) {
        const struct statistic *c = statistic_column(i);

        if (c->edition == 1)
            str_addf(out, "\t%s", c->name);
        else if (stats_have(s, i))
            str_addf(out, "\t%s:%s", c->name, merge_rule_name[c->merge]);
    }
    for (i = 0; i < s->extras; i++)
        str_addf(out, "\t%s:%s", s->extra[i].name, merge_rule_name[s->extra[i].merge]);
    str_addc(out, '\n');
    return str_ok(out, e);
}

static int add_double(struct str *out, double v)
{
    char buf[DECIMAL_MAX];

    if (!(v >= 0 && isfinite(v)))
        return -1;
    str_addc(out, '\t');
    str_add(out, buf, decimal_print(v, buf));
    return 0;
}

/* The rows of one layer, category and half. */
static int add_rows(struct str *out, const struct stats *s, int l, int c, int half, struct err *e)
{
    const struct expert_stats *x = stats_cell(s, l, c, half);
    char buf[DECIMAL_MAX];
    int i, m;

    for (i = 0; i < s->model.experts; i++) {
        const char *bad = NULL;

        str_add(out, buf, decimal_print_u64((uint64_t)s->layer[l], buf));
        str_addc(out, '\t');
        name_escape(out, s->category[c]);
        str_adds(out, half ? "\t1\t" : "\t0\t");
        str_add(out, buf, decimal_print_u64((uint64_t)i, buf));
        str_addc(out, '\t');
        str_add(out, buf, decimal_print_u64(x[i].n, buf));
        for (m = 0; m < M_COUNT; m++)
            if (stats_have(s, m) && add_double(out, x[i].m[m]))
                bad = statistic_column(m)->name;
        for (m = 0; m < s->extras; m++)
            if (add_double(out, s->more[(size_t)(x + i - s->cell) * (size_t)s->extras + (size_t)m]))
                bad = s->extra[m].name;
        if (bad)
            return err_set(
                e, ERR_INPUT,
                "statistics of layer %d, expert %d, category '%s': %s is negative, infinite or not a "
                "number: the model's activations overflowed",
                s->layer[l], i, s->category[c], bad);
        str_addc(out, '\n');
    }
    return str_ok(out, e);
}

/* What is in out goes to the file and into the digest. */
static int put(struct wfile *w, struct hash *h, struct str *out, struct err *e)
{
    int r = wfile_write(w, out->p, out->n, e);

    hash_add(h, out->p, out->n);
    str_clear(out);
    return r;
}

static int write_all(struct wfile *w, struct hash *h, const struct stats *s, struct str *out, struct err *e)
{
    char hex[HASH_HEX];
    int l, c, half;

    if (add_header(out, s, e) || put(w, h, out, e))
        return -1;
    for (l = 0; l < s->n_layers; l++)
        for (c = 0; c < s->categories; c++)
            for (half = 0; half < 2; half++)
                if (add_rows(out, s, l, c, half, e) || put(w, h, out, e))
                    return -1;
    hash_hex(h, hex);
    str_addf(out, "#end\trows=%lld\txxh3=%s\n", 2LL * s->n_layers * s->categories * s->model.experts, hex);
    if (str_ok(out, e) || wfile_write(w, out->p, out->n, e))
        return -1;
    return wfile_commit(w, e);
}

int stats_write(const struct stats *s, const char *path, bool force, struct err *e)
{
    struct wfile w = {0};
    struct hash *h = hash_new(e);
    struct str out = {0};
    int r = -1;

    if (h && wfile_open(&w, path, force, e) == 0) {
        r = write_all(&w, h, s, &out, e);
        wfile_close(&w);
    }
    str_free(&out);
    hash_free(h);
    return r;
}
