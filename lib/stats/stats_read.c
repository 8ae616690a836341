/*
 * stats_read.c -- reading a statistics file: the whole text in one buffer, then the end line, the header,
 * the rows, and last the digest, so that a damaged row is named by its line. Rows come in blocks of 2
 * halves x E experts that begin with the same layer and category.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "stats/decimal.h"
#include "stats/fields.h"
#include "stats/stats_format.h"
#include "stats/stats.h"

enum { MIN_ROW = 28 }; /* bytes of the shortest row: fourteen columns of one character */

struct reader {
    const char *name; /* for messages */
    char *text;
    uint64_t bytes;
    char *p, *end; /* what is still to be read, up to the end line */
    long line;     /* of p, from 1 */
    uint64_t rows; /* as the end line says */
    char digest[HASH_HEX];
    /* the current block */
    const char *prefix; /* "layer\tcategory\t" of its first row */
    size_t prefix_n;
    size_t layer_cap, category_cap;
    struct str name_buf;
    int column[M_COUNT +
               STATS_EXTRAS_MAX]; /* in the order of the file: enum stats_column, M_COUNT + of extra */
    int columns;
    struct err *e;
};

static int stats_fail(struct reader *r, const char *what)
{
    return err_set(r->e, ERR_INPUT, "%s: line %ld: %s", r->name, r->line, what);
}

/* ---- the lines around the rows ---- */

static int read_end_line(struct reader *r, size_t n)
{
    static const char *const key[] = {"rows", "xxh3"};
    char value[2][FIELD_MAX], where[300], *p = r->text + n;
    bool whole;

    if (n < strlen(STATS_MAGIC) || memcmp(r->text, "#moe-stats ", 11) != 0)
        return err_set(r->e, ERR_INPUT, "%s: line 1: not a statistics file: it does not begin with '%s'",
                       r->name, STATS_MAGIC);
    whole = p[-1] == '\n';
    if (whole)
        *--p = 0;
    while (p > r->text && p[-1] != '\n')
        p--;
    r->end = p;
    if (strncmp(p, "#end\t", 5) != 0 || !whole)
        return err_set(r->e, ERR_INPUT,
                       "%s: truncated: the last line is not a whole #end line; copy the file again or repeat "
                       "the run that wrote it",
                       r->name);
    snprintf(where, sizeof where, "%s: the #end line", r->name);
    if (fields_parse(p + 5, where, key, value, 2, r->e))
        return -1;
    p = (char *)decimal_parse_u64(value[0], &r->rows);
    if (!p || *p || r->rows > n / MIN_ROW)
        return err_set(r->e, ERR_INPUT, "%s: rows=%s cannot be", where, value[0]);
    if (!is_hex_digest(value[1]))
        return err_set(r->e, ERR_INPUT, "%s: xxh3=%s is not %d lower-case hexadecimal digits", where,
                       value[1], HASH_HEX - 1);
    memcpy(r->digest, value[1], sizeof r->digest);
    return 0;
}

/* The next line without its newline, NUL-terminated in place until line_done. */
static char *line_next(struct reader *r)
{
    char *newline = r->p < r->end ? memchr(r->p, '\n', (size_t)(r->end - r->p)) : NULL;
    char *line = r->p;

    if (!newline)
        return NULL;
    *newline = 0;
    r->p = newline + 1;
    return line;
}

static void line_done(struct reader *r)
{
    r->p[-1] = '\n'; /* the digest is taken of the text as it was */
    r->line++;
}

static int read_part(struct reader *r, struct stats *s, const char *line, const char *where)
{
    struct stats_part part;

    if (stats_part_parse(&part, line, where, r->e))
        return -1;
    if (stats_add_part(s, &part, r->e)) {
        err_prefix(r->e, "%s", where);
        return -1;
    }
    return 0;
}

/* The rest of a line that begins with tag and a tab (or is just the tag), else NULL. */
static const char *after_tag(const char *line, const char *tag)
{
    size_t n = strlen(tag);

    if (strncmp(line, tag, n) != 0 || (line[n] && line[n] != '\t'))
        return NULL;
    return line + n + (line[n] == '\t');
}

/* What follows the columns of the first edition in the line that names them; NULL: they are not these. */
static const char *first_columns(struct reader *r, const char *line)
{
    const char *rest = after_tag(line, STATS_LEADING);
    int i;

    for (i = 0; rest && i < M_COUNT && statistic_column(i)->edition == 1; i++) {
        rest = after_tag(rest, statistic_column(i)->name);
        r->column[i] = i;
        r->columns = i + 1;
    }
    return rest;
}

/* "name:rule" of a later column, which ends at `end`: how long the name is, and the rule; MERGE_RULES: it has
 * none that is known. */
static size_t later_name(const char *p, const char *end, enum merge_rule *rule)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    size_t n = strspn(p, letters), left = (size_t)(end - p);
    int i;

    *rule = MERGE_RULES;
    for (i = 0; n && p[n] == ':' && i < MERGE_RULES; i++)
        if (strlen(merge_rule_name[i]) == left - n - 1 &&
            memcmp(merge_rule_name[i], p + n + 1, left - n - 1) == 0)
            *rule = (enum merge_rule)i;
    return n;
}

static const char *column_name(const struct stats *s, int column)
{
    return column < M_COUNT ? statistic_column(column)->name : s->extra[column - M_COUNT].name;
}

static enum merge_rule column_rule(const struct stats *s, int column)
{
    return column < M_COUNT ? statistic_column(column)->merge : s->extra[column - M_COUNT].merge;
}

static bool has_column(const struct reader *r, int column)
{
    int i;

    for (i = 0; i < r->columns && r->column[i] != column; i++)
        ;
    return i < r->columns;
}

/* The column of that name, or of a later version: then it is another extra. -1: error. */
static int find_column(struct reader *r, struct stats *s, const char *name, size_t n, enum merge_rule rule,
                       const char *where)
{
    int i;

    for (i = 0; i < M_COUNT + s->extras; i++)
        if (strlen(column_name(s, i)) == n && memcmp(column_name(s, i), name, n) == 0)
            break;
    if (i == M_COUNT + s->extras) {
        if (s->extras == STATS_EXTRAS_MAX)
            return err_set(r->e, ERR_UNKNOWN, "%s: more than %d columns that this version does not know",
                           where, STATS_EXTRAS_MAX);
        s->extra[s->extras] = (struct stats_extra){mem_strndup(name, n, r->e), rule};
        return s->extra[s->extras].name ? M_COUNT + s->extras++ : -1;
    }
    return i;
}

static int read_later(struct reader *r, struct stats *s, const char *p, const char *end, const char *where)
{
    enum merge_rule rule;
    size_t n = later_name(p, end, &rule);
    int column;

    if (rule == MERGE_RULES)
        return err_set(r->e, ERR_UNKNOWN,
                       "%s: column '%.*s' is not known to this version, and does not say how it is merged "
                       "(:count, :sum or :max), so it cannot be carried along either; a later version reads "
                       "this file",
                       where, (int)(end - p < 60 ? end - p : 60), p);
    column = find_column(r, s, p, n, rule, where);
    if (column < 0)
        return -1;
    if (has_column(r, column))
        return err_set(r->e, ERR_INPUT, "%s: column '%.60s' stands twice", where, column_name(s, column));
    if (column_rule(s, column) != rule)
        return err_set(r->e, ERR_INPUT, "%s: column '%.60s' is merged by %s, not by %s", where,
                       column_name(s, column), merge_rule_name[column_rule(s, column)],
                       merge_rule_name[rule]);
    r->column[r->columns++] = column;
    return 0;
}

/* What the file has of this version's later columns says of which edition it is. */
static int read_laters(struct reader *r, struct stats *s, const char *p, const char *where)
{
    int c;

    if (*p && !(s->extra = mem_new(STATS_EXTRAS_MAX, sizeof *s->extra, r->e)))
        return -1;
    while (*p) {
        const char *end = p + strcspn(p, "\t");

        if (read_later(r, s, p, end, where))
            return -1;
        p = end + (*end == '\t');
    }
    s->edition = EDITION;
    for (c = 0; c < M_COUNT; c++)
        if (stats_have(s, c) && !has_column(r, c))
            s->edition = statistic_column(c)->edition - 1;
    return 0;
}

/* One header line. *stage: 0 magic, 1 #model, 2 #run, 3 #part or #columns, 4 rows follow. */
static int read_header_line(struct reader *r, struct stats *s, const char *line, int *stage)
{
    static const char *const expected[] = {STATS_MAGIC, "#model", "#run", "#part or #columns"};
    char where[300], what[400];
    const char *rest;

    snprintf(where, sizeof where, "%s: line %ld", r->name, r->line);
    if (*stage == 0 && strcmp(line, STATS_MAGIC) != 0)
        return err_set(r->e, ERR_UNKNOWN,
                       "%s: '%.40s' is another version of the format; this program reads '%s'", where, line,
                       STATS_MAGIC);
    if (*stage == 3 && (rest = after_tag(line, "#part")))
        return read_part(r, s, rest, where);
    if (*stage == 3 && (rest = first_columns(r, line))) {
        ++*stage;
        return read_laters(r, s, rest, where);
    }
    if (*stage == 0) {
        ++*stage;
        return 0;
    }
    rest = *stage < 3 ? after_tag(line, expected[*stage]) : NULL;
    if (!rest) {
        snprintf(what, sizeof what, "expected %s, found '%.60s'%s", expected[*stage], line,
                 after_tag(line, "#columns") ? ": the columns are not those of this version" : "");
        return stats_fail(r, what);
    }
    if (++*stage == 2)
        return model_id_parse(&s->model, rest, where, r->e);
    s->run = mem_strdup(rest, r->e);
    return s->run ? 0 : -1;
}

static int read_header(struct reader *r, struct stats *s)
{
    int stage = 0;

    while (stage < 4) {
        char *line = line_next(r);

        if (!line)
            return stats_fail(r, "the header ends before its #columns line");
        if (read_header_line(r, s, line, &stage))
            return -1;
        line_done(r);
    }
    return 0;
}

/* ---- rows ---- */

/* The row at r->p is not the one that belongs here: says which does. */
static int wrong_row(struct reader *r, const struct stats *s, uint64_t i)
{
    size_t experts = (size_t)s->model.experts, shown = 0;
    int tabs = 0;

    while (shown < 200 && r->p[shown] != '\n' && (tabs += r->p[shown] == '\t') < 4)
        shown++;
    return err_set(
        r->e, ERR_INPUT,
        "%s: line %ld: expected layer, category, half, expert = '%.*s%d\t%zu', found '%.*s': a row is "
        "missing, stands twice or is out of order",
        r->name, r->line, (int)(r->prefix_n < 200 ? r->prefix_n : 200), r->prefix, (int)(i / experts % 2),
        (size_t)(i % experts), (int)shown, r->p);
}

static int add_layer(struct reader *r, struct stats *s, uint64_t number)
{
    char what[200];

    if (number >= (uint64_t)s->model.layers) {
        snprintf(what, sizeof what, "layer %" PRIu64 " in a model of %d layers", number, s->model.layers);
        return stats_fail(r, what);
    }
    if (s->n_layers && number <= (uint64_t)s->layer[s->n_layers - 1]) {
        snprintf(what, sizeof what,
                 "layer %" PRIu64 " after layer %d: rows are missing, stand twice or are out of order",
                 number, s->layer[s->n_layers - 1]);
        return stats_fail(r, what);
    }
    if (mem_grow(&s->layer, &r->layer_cap, (size_t)s->n_layers + 1, sizeof *s->layer, r->e))
        return -1;
    s->layer[s->n_layers++] = (int)number;
    return 0;
}

/* The category that must come c-th; the first layer says which ones there are. */
static int check_category(struct reader *r, struct stats *s, int c, const char *p, size_t n)
{
    char what[300];

    if (!name_unescape(&r->name_buf, p, n) || str_ok(&r->name_buf, r->e))
        return stats_fail(r, "the category is empty or has an unknown escape");
    if (s->n_layers > 1 && c < s->categories) {
        if (strcmp(s->category[c], r->name_buf.p) == 0)
            return 0;
        snprintf(
            what, sizeof what,
            "expected category '%.80s' of layer %d, found '%.80s': rows are missing, stand twice or are out "
            "of order",
            s->category[c], s->layer[s->n_layers - 1], r->name_buf.p);
        return stats_fail(r, what);
    }
    if (s->n_layers > 1 || (c && strcmp(s->category[c - 1], r->name_buf.p) >= 0)) {
        snprintf(what, sizeof what,
                 "category '%.80s' is not expected here: rows stand twice or are out of order",
                 r->name_buf.p);
        return stats_fail(r, what);
    }
    if (mem_grow(&s->category, &r->category_cap, (size_t)c + 1, sizeof *s->category, r->e))
        return -1;
    s->category[c] = mem_strdup(r->name_buf.p, r->e);
    if (!s->category[c])
        return -1;
    s->categories = c + 1;
    return 0;
}

/* The first row of a block is ahead; *c is the category of the block before. */
static int begin_block(struct reader *r, struct stats *s, int *c)
{
    const char *p, *tab;
    uint64_t number;

    p = decimal_parse_u64(r->p, &number);
    tab = p && *p == '\t' ? strpbrk(p + 1, "\t\n") : NULL;
    if (!tab || *tab != '\t')
        return stats_fail(r, "a row begins with layer and category");
    ++*c;
    if (!s->n_layers || number != (uint64_t)s->layer[s->n_layers - 1]) {
        if (s->n_layers && *c != s->categories)
            return stats_fail(r, "rows of the layer before are missing");
        *c = 0;
        if (add_layer(r, s, number))
            return -1;
    }
    r->prefix = r->p;
    r->prefix_n = (size_t)(tab + 1 - r->p);
    return check_category(r, s, *c, p + 1, (size_t)(tab - p - 1));
}

static int bad_value(struct reader *r, const char *column, bool whole, const char *p)
{
    char what[200];

    snprintf(what, sizeof what, "column %.60s: '%.*s' is not a %s of at least 0", column,
             (int)strcspn(p, "\t\n") < 60 ? (int)strcspn(p, "\t\n") : 60, p,
             whole ? "whole number" : "finite decimal number");
    return stats_fail(r, what);
}

/* A number after the tab at *p, which then stands behind it. */
static int read_value(struct reader *r, const char **p, const char *column, enum merge_rule rule, double *v)
{
    const char *from = *p + 1;

    if (**p != '\t')
        return stats_fail(r, "too few columns");
    *p = decimal_parse(from, v);
    if (!*p || (**p != '\t' && **p != '\n') || (rule == MERGE_COUNT && statistic_bad(rule, false, *v)))
        return bad_value(r, column, rule == MERGE_COUNT, from);
    return 0;
}

/* n and the columns at p, each after a tab, to the newline. */
static int read_values(struct reader *r, const struct stats *s, uint64_t row, const char *p)
{
    struct expert_stats *x = &s->cell[row];
    double sum = 0, *more = s->extras ? s->more + row * (uint64_t)s->extras : NULL;
    const char *from = p + 1;
    int i;

    if (*p != '\t')
        return stats_fail(r, "too few columns");
    p = decimal_parse_u64(from, &x->n);
    if (!p || (*p != '\t' && *p != '\n'))
        return bad_value(r, "n", true, from);
    for (i = 0; i < r->columns; i++) {
        int c = r->column[i];
        double *to = c < M_COUNT ? &x->m[c] : &more[c - M_COUNT];

        if (read_value(r, &p, column_name(s, c), column_rule(s, c), to))
            return -1;
        sum += *to;
    }
    if (*p != '\n')
        return stats_fail(r, "too many columns");
    if (x->n == 0 && sum != 0)
        return stats_fail(r, "sums over no tokens (n = 0) that are not 0");
    r->p = (char *)p + 1;
    r->line++;
    return 0;
}

static int read_row(struct reader *r, struct stats *s, uint64_t i)
{
    uint64_t half, expert, experts = (uint64_t)s->model.experts;
    const char *p;

    if ((size_t)(r->end - r->p) < r->prefix_n || memcmp(r->p, r->prefix, r->prefix_n) != 0)
        return wrong_row(r, s, i);
    p = decimal_parse_u64(r->p + r->prefix_n, &half);
    if (!p || *p != '\t' || half != i / experts % 2)
        return wrong_row(r, s, i);
    p = decimal_parse_u64(p + 1, &expert);
    if (!p || *p != '\t' || expert != i % experts)
        return wrong_row(r, s, i);
    return read_values(r, s, i, p);
}

static int read_rows(struct reader *r, struct stats *s)
{
    uint64_t i, block = 2 * (uint64_t)s->model.experts;
    char what[200];
    int c = -1;

    if (r->rows > r->bytes / (MIN_ROW + 2 * (uint64_t)s->extras)) {
        snprintf(what, sizeof what, "the #end line says rows=%" PRIu64 ", which cannot be", r->rows);
        return stats_fail(r, what);
    }
    s->cell = mem_new(r->rows, sizeof *s->cell, r->e);
    if (s->extras)
        s->more = mem_new(r->rows, (size_t)s->extras * sizeof *s->more, r->e);
    if (!s->cell || (s->extras && !s->more))
        return -1;
    for (i = 0; r->p < r->end; i++) {
        if (i == r->rows)
            break;
        if (i % block == 0 && (check_cancelled(r->e) || begin_block(r, s, &c)))
            return -1;
        if (read_row(r, s, i))
            return -1;
    }
    if (i != r->rows || r->p < r->end) {
        snprintf(what, sizeof what, "the #end line says rows=%" PRIu64 ", but there are %s", r->rows,
                 r->p < r->end ? "more" : "fewer");
        return stats_fail(r, what);
    }
    if (i == 0 || i % block || c + 1 != s->categories)
        return stats_fail(r, "rows are missing before the #end line");
    return 0;
}

int stats_read(struct stats *s, const char *path, struct err *e)
{
    struct reader r = {.name = strcmp(path, "-") == 0 ? "<stdin>" : path, .line = 1, .e = e};
    char hex[HASH_HEX];
    size_t n;
    int status = -1;

    *s = (struct stats){0};
    if (file_read(path, UINT64_MAX, &r.text, &n, e))
        return -1;
    r.p = r.text;
    r.bytes = n;
    if (read_end_line(&r, n) || read_header(&r, s) || read_rows(&r, s))
        goto out;
    hash_once(r.text, (size_t)(r.end - r.text), hex);
    if (strcmp(hex, r.digest) != 0) {
        err_set(
            e, ERR_INPUT,
            "%s: the digest of the contents is %s, the #end line says %s: the file was changed or damaged",
            r.name, hex, r.digest);
        goto out;
    }
    status = 0;
out:
    if (status)
        stats_free(s);
    str_free(&r.name_buf);
    free(r.text);
    return status;
}
