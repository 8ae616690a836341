/* rows.c -- lines of people, column by column, with the line in every message. */
#include "stats/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include "stats/fields.h"

#define BLANKS "\t \r"

enum { COLUMNS_MAX = 2 + ROWS_COLUMNS };

struct numbered_row {
    int layer, expert;
    double value[ROWS_COLUMNS];
    long line;
};

struct reader {
    const struct rows_format *f;
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

static int rows_fail(struct reader *r, const char *what)
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
static int split_words(char *text, char **word, int max)
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
        return rows_fail(r, "a second #end line");
    r->has_end = true;
    r->end_line = r->line;
    if (fields_parse(rest, where, key, value, 1, r->e))
        return -1;
    return num_i64(value[0], where, 0, INT64_MAX, &r->end_rows, r->e);
}

static const char *column_name(const struct reader *r, int i)
{
    return i == 0 ? "layer" : i == 1 ? "expert" : r->f->column[i - 2].name;
}

static int read_columns(struct reader *r, char *rest)
{
    int columns = 2 + r->f->columns, n, i;
    char *word[COLUMNS_MAX];

    n = split_words(rest, word, columns);
    for (i = 0; i < columns && n == columns; i++)
        if (strcmp(word[i], column_name(r, i)) != 0)
            n = 0;
    if (n == columns)
        return 0;
    return err_set(r->e, ERR_INPUT, "%s: line %ld: the columns of a %s are %s", r->name, r->line, r->f->what,
                   r->f->header);
}

/* A line that begins with '#': one of the four tags, else a comment. */
static int read_tag(struct reader *r, char *line)
{
    char where[300], *rest;

    snprintf(where, sizeof where, "%s: line %ld", r->name, r->line);
    if ((rest = after_tag(line, "#model"))) {
        if (r->has_model)
            return rows_fail(r, "a second #model line");
        r->has_model = true;
        return model_id_parse(&r->model, rest, where, r->e);
    }
    if ((rest = after_tag(line, "#criterion"))) {
        if (r->criterion)
            return rows_fail(r, "a second #criterion line");
        r->criterion = mem_strdup(rest, r->e);
        return r->criterion ? 0 : -1;
    }
    if ((rest = after_tag(line, "#columns")))
        return read_columns(r, rest);
    if ((rest = after_tag(line, "#end")))
        return read_end(r, rest, where);
    if (after_tag(line, r->f->tag))
        return err_set(r->e, ERR_INPUT, "%s: line %ld: a second %s begins here", r->name, r->line,
                       r->f->what);
    return 0;
}

static int read_value(struct reader *r, const char *word, int column, double *out)
{
    double min = r->f->column[column].min, max = r->f->column[column].max;
    char what[340];
    int64_t whole;

    if (max == 0)
        max = r->model.experts;
    snprintf(what, sizeof what, "%s: line %ld: %s", r->name, r->line, r->f->column[column].name);
    if (!r->f->column[column].whole)
        return num_double(word, what, min, max, out, r->e);
    if (num_i64(word, what, (int64_t)min, (int64_t)max, &whole, r->e))
        return -1;
    *out = (double)whole;
    return 0;
}

static int read_place(struct reader *r, const char *word, const char *column, int n, int *out)
{
    char what[340];
    int64_t v;

    snprintf(what, sizeof what, "%s: line %ld: %s", r->name, r->line, column);
    if (num_i64(word, what, 0, n - 1, &v, r->e))
        return -1;
    *out = (int)v;
    return 0;
}

static int read_row(struct reader *r, char *line)
{
    struct numbered_row row = {.line = r->line};
    char *word[COLUMNS_MAX];
    int i;

    if (!r->has_model)
        return rows_fail(r, "a row before the #model line");
    if (r->has_end)
        return rows_fail(r, "a row after the #end line");
    if (split_words(line, word, 2 + r->f->columns) != 2 + r->f->columns)
        return err_set(r->e, ERR_INPUT, "%s: line %ld: a row has the %d columns %s", r->name, r->line,
                       2 + r->f->columns, r->f->header);
    if (read_place(r, word[0], "layer", r->model.layers, &row.layer) ||
        read_place(r, word[1], "expert", r->model.experts, &row.expert))
        return -1;
    for (i = 0; i < r->f->columns; i++)
        if (read_value(r, word[2 + i], i, &row.value[i]))
            return -1;
    if (mem_grow(&r->row, &r->cap, r->rows + 1, sizeof *r->row, r->e))
        return -1;
    r->row[r->rows++] = row;
    return 0;
}

static int not_one(struct reader *r, const char *why)
{
    return err_set(r->e, ERR_INPUT, "%s: line 1: not a %s: %s '%s 1'", r->name, r->f->what, why, r->f->tag);
}

static int read_first(struct reader *r, char *line)
{
    char *version = after_tag(line, r->f->tag);

    if (!version)
        return not_one(r, "it does not begin with");
    if (strcmp(version, "1") == 0)
        return 0;
    return err_set(r->e, ERR_INPUT, "%s: line 1: another version of the format; this program reads '%s 1'",
                   r->name, r->f->tag);
}

static int read_lines(struct reader *r, char *text, size_t n)
{
    char *p, *next, *end = text + n, *rest;
    int status;

    if (n == 0)
        return not_one(r, "it is empty and does not begin with");
    if (memchr(text, 0, n))
        return not_one(r, "it contains a NUL byte; one begins with");
    for (p = text, r->line = 1; p < end; p = next, r->line++) {
        char *newline = memchr(p, '\n', (size_t)(end - p));

        next = newline ? newline + 1 : end;
        if (newline)
            *newline = 0;
        for (rest = p + strlen(p); rest > p && strchr(BLANKS, rest[-1]); rest--)
            rest[-1] = 0;
        p += r->line > 1 ? strspn(p, BLANKS) : 0;
        status = r->line == 1 ? read_first(r, p) : *p == '#' ? read_tag(r, p) : *p ? read_row(r, p) : 0;
        if (status)
            return -1;
    }
    if (!r->has_end)
        return err_set(r->e, ERR_INPUT,
                       "%s: truncated: it has no #end line; if the rows are all there, add '#end rows=%zu'",
                       r->name, r->rows);
    return r->has_model ? 0 : err_set(r->e, ERR_INPUT, "%s: it has no #model line", r->name);
}

static int rows_by_place(const void *va, const void *vb)
{
    const struct numbered_row *a = va, *b = vb;

    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    if (a->expert != b->expert)
        return a->expert < b->expert ? -1 : 1;
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
        const struct numbered_row *row = &r->row[i], *before = i ? row - 1 : NULL;
        bool same_layer = before && before->layer == row->layer;

        if (same_layer && before->expert == row->expert) {
            return err_set(r->e, ERR_INPUT,
                           "%s: line %ld: layer %d, expert %d stands twice (first in line %ld)", r->name,
                           row->line, row->layer, row->expert, before->line);
        }
        if (before && !same_layer && before->expert != last)
            return missing(r, before->layer, before->expert + 1);
        expected = same_layer ? expected + 1 : 0;
        if (row->expert != expected)
            return missing(r, row->layer, expected);
        *n_layers += !same_layer;
    }
    if (r->rows && r->row[r->rows - 1].expert != last)
        return missing(r, r->row[r->rows - 1].layer, r->row[r->rows - 1].expert + 1);
    if ((uint64_t)r->end_rows != r->rows)
        return err_set(r->e, ERR_INPUT,
                       "%s: line %ld: the #end line says rows=%lld, but %zu rows stand above it", r->name,
                       r->end_line, (long long)r->end_rows, r->rows);
    return r->rows ? 0 : err_set(r->e, ERR_INPUT, "%s: it has no rows", r->name);
}

static int build(struct rows *out, struct reader *r)
{
    size_t i, n = 0;
    int n_layers, k;

    if (r->rows)
        qsort(r->row, r->rows, sizeof *r->row, rows_by_place);
    if (check_rows(r, &n_layers))
        return -1;
    out->layer = mem_new((size_t)n_layers, sizeof *out->layer, r->e);
    out->value = mem_new(r->rows, sizeof *out->value, r->e);
    out->criterion = mem_strdup(r->criterion ? r->criterion : "", r->e);
    if (!out->layer || !out->value || !out->criterion)
        return -1;
    out->model = r->model;
    out->n_layers = n_layers;
    for (i = 0; i < r->rows; i++) {
        if (r->row[i].expert == 0)
            out->layer[n++] = r->row[i].layer;
        for (k = 0; k < r->f->columns; k++)
            out->value[i][k] = r->row[i].value[k];
    }
    return 0;
}

int rows_read(struct rows *out, const struct rows_format *f, const char *path, struct err *e)
{
    struct reader r = {.f = f, .name = strcmp(path, "-") == 0 ? "<stdin>" : path, .e = e};
    char *text;
    size_t n;
    int status;

    *out = (struct rows){0};
    if (file_read(path, (uint64_t)1 << 32, &text, &n, e))
        return -1;
    status = read_lines(&r, text, n) || build(out, &r) ? -1 : 0;
    if (status)
        rows_free(out);
    free(r.criterion);
    free(r.row);
    free(text);
    return status;
}

void rows_free(struct rows *r)
{
    free(r->criterion);
    free(r->layer);
    free(r->value);
    *r = (struct rows){0};
}

/* ---- writing ---- */

int rows_head(struct str *out, const struct rows_format *f, const struct model_id *id, const char *criterion,
              struct err *e)
{
    char model[256];
    int i;

    if (model_id_print(id, model, sizeof model) < 0 || strchr(criterion, '\n'))
        return err_set(e, ERR_INPUT, "%s: the model or criterion line cannot be written",
                       f->tag + strlen("#moe-"));
    str_addf(out, "%s 1\n#model\t%s\n", f->tag, model);
    if (*criterion)
        str_addf(out, "#criterion\t%s\n", criterion);
    str_adds(out, "#columns\tlayer\texpert");
    for (i = 0; i < f->columns; i++)
        str_addf(out, "\t%s", f->column[i].name);
    str_adds(out, "\n");
    return 0;
}

int rows_finish(struct str *out, size_t rows, const char *path, bool force, struct err *e)
{
    int status;

    str_addf(out, "#end\trows=%zu\n", rows);
    status = str_ok(out, e) ? -1 : file_write(path, out->p, out->n, force, e);
    str_free(out);
    return status;
}
