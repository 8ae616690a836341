/* Reading a plan, which people edit: forgiving about white space and order, strict about what it says. */
#include <float.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include "stats/fields.h"
#include "stats/format.h"
#include "stats/plan.h"

#define BLANKS "\t \r"

enum { COLUMNS = 5 };

struct numbered_row {
    struct plan_row row;
    long line;
};

struct reader {
    const char *name;
    long line;
    struct model_id model;
    bool has_model, has_end;
    char *criterion;
    int64_t end_rows;
    long end_line;
    struct numbered_row *row; /* [rows] as they stand in the file */
    size_t rows, cap;
    struct err *e;
};

static int fail(struct reader *r, const char *what)
{
    return err_set(r->e, ERR_INPUT, "%s: line %ld: %s", r->name, r->line, what);
}

/* The rest of a line that begins with tag, without the blanks between; NULL if it does not. */
static char *after_tag(char *line, const char *tag)
{
    size_t n = strlen(tag);

    if (strncmp(line, tag, n) != 0 || (line[n] && !strchr(BLANKS, line[n])))
        return NULL;
    return line + n + strspn(line + n, BLANKS);
}

/* Cuts text into words at blanks, in place. Returns their number; more than max counts as max + 1. */
static int split(char *text, char **word, int max)
{
    int n = 0;

    for (text += strspn(text, BLANKS); *text; text += strspn(text, BLANKS)) {
        if (n == max)
            return max + 1;
        word[n++] = text;
        text += strcspn(text, BLANKS);
        if (*text)
            *text++ = 0;
    }
    return n;
}

static int read_end(struct reader *r, const char *rest, const char *where)
{
    static const char *const key[] = {"rows"};
    char value[1][FIELD_MAX];

    if (r->has_end)
        return fail(r, "a second #end line");
    r->has_end = true;
    r->end_line = r->line;
    if (fields_parse(rest, where, key, value, 1, r->e))
        return -1;
    return num_i64(value[0], where, 0, INT64_MAX, &r->end_rows, r->e);
}

static int read_columns(struct reader *r, char *rest)
{
    static const char *const name[COLUMNS] = {"layer", "expert", "keep", "score", "rank"};
    char *word[COLUMNS];
    int i, n = split(rest, word, COLUMNS);

    for (i = 0; i < COLUMNS && n == COLUMNS; i++)
        if (strcmp(word[i], name[i]) != 0)
            n = 0;
    return n == COLUMNS ? 0 : fail(r, "the columns of a plan are layer, expert, keep, score, rank");
}

/* A line that begins with '#': one of the four tags, else a comment. */
static int read_tag(struct reader *r, char *line)
{
    char where[300], *rest;

    snprintf(where, sizeof where, "%s: line %ld", r->name, r->line);
    if ((rest = after_tag(line, "#model"))) {
        if (r->has_model)
            return fail(r, "a second #model line");
        r->has_model = true;
        return model_id_parse(&r->model, rest, where, r->e);
    }
    if ((rest = after_tag(line, "#criterion"))) {
        if (r->criterion)
            return fail(r, "a second #criterion line");
        r->criterion = mem_strdup(rest, r->e);
        return r->criterion ? 0 : -1;
    }
    if ((rest = after_tag(line, "#columns")))
        return read_columns(r, rest);
    if ((rest = after_tag(line, "#end")))
        return read_end(r, rest, where);
    return after_tag(line, "#moe-plan") ? fail(r, "a second plan begins here") : 0;
}

static int read_row(struct reader *r, char *line)
{
    static const char *const name[COLUMNS] = {"layer", "expert", "keep", "score", "rank"};
    char *word[COLUMNS], what[COLUMNS][340];
    struct plan_row row;
    int64_t v[COLUMNS];
    int i;

    if (!r->has_model)
        return fail(r, "a row before the #model line");
    if (r->has_end)
        return fail(r, "a row after the #end line");
    if (split(line, word, COLUMNS) != COLUMNS)
        return fail(r, "a row has the five columns layer, expert, keep, score, rank");
    for (i = 0; i < COLUMNS; i++)
        snprintf(what[i], sizeof what[i], "%s: line %ld: %s", r->name, r->line, name[i]);
    if (num_i64(word[0], what[0], 0, r->model.layers - 1, &v[0], r->e) ||
        num_i64(word[1], what[1], 0, r->model.experts - 1, &v[1], r->e) ||
        num_i64(word[2], what[2], 0, 1, &v[2], r->e) ||
        num_double(word[3], what[3], -DBL_MAX, DBL_MAX, &row.score, r->e) ||
        num_i64(word[4], what[4], 1, r->model.experts, &v[4], r->e))
        return -1;
    row.layer = (int)v[0];
    row.expert = (int)v[1];
    row.keep = v[2] == 1;
    row.rank = (int)v[4];
    if (mem_grow(&r->row, &r->cap, r->rows + 1, sizeof *r->row, r->e))
        return -1;
    r->row[r->rows++] = (struct numbered_row){row, r->line};
    return 0;
}

static int read_lines(struct reader *r, char *text, size_t n)
{
    char *p, *next, *end = text + n;

    if (memchr(text, 0, n))
        return err_set(r->e, ERR_INPUT, "%s: not a plan: it contains a NUL byte", r->name);
    for (p = text, r->line = 1; p < end; p = next, r->line++) {
        char *newline = memchr(p, '\n', (size_t)(end - p)), *rest;
        int status;

        next = newline ? newline + 1 : end;
        if (newline)
            *newline = 0;
        for (rest = p + strlen(p); rest > p && strchr(BLANKS, rest[-1]); rest--)
            rest[-1] = 0;
        if (r->line == 1) {
            rest = after_tag(p, "#moe-plan");
            if (!rest)
                return fail(r, "not a plan: it does not begin with '" PLAN_MAGIC "'");
            status = strcmp(rest, "1") == 0
                         ? 0
                         : fail(r, "another version of the format; this program reads '" PLAN_MAGIC "'");
        } else {
            p += strspn(p, BLANKS);
            status = *p == '#' ? read_tag(r, p) : *p ? read_row(r, p) : 0;
        }
        if (status)
            return -1;
    }
    if (r->line == 1)
        return fail(r, "not a plan: it is empty");
    if (!r->has_end)
        return err_set(r->e, ERR_INPUT,
                       "%s: truncated: it has no #end line; if the rows are all there, add '#end rows=%zu'",
                       r->name, r->rows);
    return r->has_model ? 0 : err_set(r->e, ERR_INPUT, "%s: it has no #model line", r->name);
}

static int by_place(const void *va, const void *vb)
{
    const struct numbered_row *a = va, *b = vb;

    if (a->row.layer != b->row.layer)
        return a->row.layer < b->row.layer ? -1 : 1;
    if (a->row.expert != b->row.expert)
        return a->row.expert < b->row.expert ? -1 : 1;
    return (a->line > b->line) - (a->line < b->line);
}

static int missing(struct reader *r, int layer, int expert)
{
    return err_set(r->e, ERR_INPUT, "%s: layer %d: expert %d has no row; each of the %d experts needs one",
                   r->name, layer, expert, r->model.experts);
}

/* The rows are sorted: finds what stands twice or is missing, and counts the layers. */
static int check_rows(struct reader *r, int *n_layers)
{
    int expected = 0, last = r->model.experts - 1;
    size_t i;

    *n_layers = 0;
    for (i = 0; i < r->rows; i++) {
        const struct plan_row *row = &r->row[i].row, *before = i ? &r->row[i - 1].row : NULL;
        bool same_layer = before && before->layer == row->layer;

        if (same_layer && before->expert == row->expert) {
            r->line = r->row[i].line;
            return err_set(r->e, ERR_INPUT,
                           "%s: line %ld: layer %d, expert %d stands twice (first in line %ld)", r->name,
                           r->line, row->layer, row->expert, r->row[i - 1].line);
        }
        if (before && !same_layer && before->expert != last)
            return missing(r, before->layer, before->expert + 1);
        expected = same_layer ? expected + 1 : 0;
        if (row->expert != expected)
            return missing(r, row->layer, expected);
        *n_layers += !same_layer;
    }
    if (r->rows && r->row[r->rows - 1].row.expert != last)
        return missing(r, r->row[r->rows - 1].row.layer, r->row[r->rows - 1].row.expert + 1);
    if ((uint64_t)r->end_rows != r->rows)
        return err_set(r->e, ERR_INPUT,
                       "%s: line %ld: the #end line says rows=%lld, but %zu rows stand above it", r->name,
                       r->end_line, (long long)r->end_rows, r->rows);
    return r->rows ? 0 : err_set(r->e, ERR_INPUT, "%s: it has no rows", r->name);
}

static int build(struct plan *p, struct reader *r)
{
    int n_layers, *layer;
    size_t i, n = 0;

    if (r->rows)
        qsort(r->row, r->rows, sizeof *r->row, by_place);
    if (check_rows(r, &n_layers))
        return -1;
    layer = mem_new((size_t)n_layers, sizeof *layer, r->e);
    if (!layer)
        return -1;
    for (i = 0; i < r->rows; i++)
        if (r->row[i].row.expert == 0)
            layer[n++] = r->row[i].row.layer;
    if (plan_new(p, &r->model, r->criterion ? r->criterion : "", layer, n_layers, r->e) == 0)
        for (i = 0; i < r->rows; i++)
            p->row[i] = r->row[i].row;
    free(layer);
    return p->row ? 0 : -1;
}

int plan_read(struct plan *p, const char *path, struct err *e)
{
    struct reader r = {.name = strcmp(path, "-") == 0 ? "<stdin>" : path, .e = e};
    char *text;
    size_t n;
    int status;

    *p = (struct plan){0};
    if (file_read(path, (uint64_t)1 << 32, &text, &n, e))
        return -1;
    status = read_lines(&r, text, n) || build(p, &r) ? -1 : 0;
    free(r.criterion);
    free(r.row);
    free(text);
    return status;
}
