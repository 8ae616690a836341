/* data_file.c -- files of DATA, whatever they are called and however they are packed. */
#include "text/data_file.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "base/magic.h"
#include "base/unpack.h"
#include "base/words.h"
#include "text/document.h"

/* ---- where values are ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t skip_space(const char *p, size_t n, size_t i)
{
    while (i < n && is_space(p[i]))
        i++;
    return i;
}

/* Behind the JSON value that begins at i, as far as brackets and quotes tell; 0: it does not end. */
static size_t value_end(const char *p, size_t n, size_t i)
{
    bool quoted = false;
    size_t depth = 0;

    for (; i < n; i++) {
        char c = p[i];

        if (quoted && c == '\\') {
            i++;
            continue;
        }
        if (c == '"')
            quoted = !quoted;
        else if (quoted)
            continue;
        else if (c == '{' || c == '[')
            depth++;
        else if (depth && (c == '}' || c == ']'))
            depth--;
        else if (!depth && (c == ',' || c == '}' || c == ']' || is_space(c)))
            return i; /* a number or a word ends before it */
        else
            continue;
        if (!depth && !quoted)
            return i + 1;
    }
    return depth || quoted ? 0 : n;
}

/* For messages. */
static const char *shown(const char *name)
{
    return strcmp(name, "-") == 0 ? "<stdin>" : name;
}

static int not_array(const struct data_file *f, int line, const char *why, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s line %d: the JSON array %s", shown(f->name), line + 1, why);
}

/* The next value at or behind at->next; lines are counted on the way. */
static int take_value(const struct data_file *f, struct data_at *at, struct err *e)
{
    size_t end;

    for (end = skip_space(f->text, f->n, at->next); at->next < end; at->next++)
        at->line += f->text[at->next] == '\n';
    if (end == f->n)
        return 0;
    at->off = end;
    end = value_end(f->text, f->n, at->off);
    if (!end)
        return not_array(f, at->line, "or object that begins here does not end", e);
    at->n = end - at->off;
    return 1;
}

/* at->next stays at the value's beginning until the next call, for the sake of the line. */
static void pass_value(const struct data_file *f, struct data_at *at)
{
    for (; at->next < at->off + at->n; at->next++)
        at->line += f->text[at->next] == '\n';
}

static int next_line(const struct data_file *f, struct data_at *at)
{
    while (at->next < f->n) {
        const char *from = f->text + at->next, *end = memchr(from, '\n', f->n - at->next);
        bool first = at->next == 0;

        at->off = at->next;
        at->n = end ? (size_t)(end - from) : f->n - at->next;
        at->next += at->n + 1;
        at->line += !first;
        if (skip_space(from, at->n, 0) < at->n)
            return 1;
    }
    return 0;
}

static char byte_at(const struct data_file *f, size_t i)
{
    return i < f->n ? f->text[i] : 0;
}

static int next_item(const struct data_file *f, struct data_at *at, struct err *e)
{
    bool first = at->n == 0;
    size_t i;
    int r;

    pass_value(f, at);
    i = skip_space(f->text, f->n, at->next);
    if (first ? byte_at(f, skip_space(f->text, f->n, i + 1)) == ']' : byte_at(f, i) == ']') {
        i = first ? skip_space(f->text, f->n, i + 1) : i;
        return skip_space(f->text, f->n, i + 1) < f->n
                   ? not_array(f, at->line, "is followed by something else", e)
                   : 0;
    }
    if (!first && byte_at(f, i) != ',')
        return not_array(f, at->line, "is cut off, or lacks a comma here", e);
    for (; at->next <= i && at->next < f->n; at->next++)
        at->line += f->text[at->next] == '\n';
    r = take_value(f, at, e);
    return r ? r : not_array(f, at->line, "is cut off", e);
}

int data_next(const struct data_file *f, struct data_at *at, struct err *e)
{
    switch (f->form) {
    case DATA_LINES:
        return next_line(f, at);
    case DATA_ARRAY:
        return next_item(f, at, e);
    case DATA_VALUES:
        pass_value(f, at);
        return take_value(f, at, e);
    default:
        break;
    }
    if (at->next)
        return 0;
    *at = (struct data_at){.n = f->n, .next = f->n + 1};
    return 1;
}

/* ---- names ---- */

static bool has_suffix(const char *name, size_t n, const char *suffix)
{
    size_t k = strlen(suffix);

    return n > k && strncasecmp(name + n - k, suffix, k) == 0;
}

static bool any_suffix(const char *name, size_t n, const char *const *suffix)
{
    for (; *suffix; suffix++)
        if (has_suffix(name, n, *suffix))
            return true;
    return false;
}

static size_t without_packing(const char *name)
{
    static const char *const packed[] = {".gz", ".zst", ".zstd"};
    size_t n = strlen(name), i;

    for (i = 0; i < sizeof packed / sizeof *packed; i++)
        if (has_suffix(name, n, packed[i]))
            return n - strlen(packed[i]);
    return n;
}

static bool is_pipe(const char *name)
{
    return strcmp(name, "-") == 0 || strcmp(name, "/dev/stdin") == 0 || strncmp(name, "/dev/fd/", 8) == 0 ||
           strncmp(name, "/proc/self/fd/", 14) == 0;
}

static char *stem_of(const char *name, struct err *e)
{
    const char *base = path_base(name);
    size_t n = without_packing(base), k = n;

    if (is_pipe(name))
        return mem_strdup("-", e);
    while (k > 1 && base[k - 1] != '.')
        k--;
    return mem_strndup(base, k > 1 ? k - 1 : n, e);
}

/* ---- forms ---- */

static bool is_object(const char *p, size_t n, bool *document)
{
    struct err local = {0};
    cJSON *json = NULL;
    bool yes = json_parse(p, n, "", &json, &local) == 0 && cJSON_IsObject(json);

    *document = yes && document_is_content(json);
    cJSON_Delete(json);
    return yes;
}

/* A text whose name says nothing: a document in JSON, or two objects, and nothing but them. */
static bool looks_like_json(const struct data_file *f, enum data_form form)
{
    struct data_file as = *f;
    struct data_at at = {0};
    struct err local = {0};
    bool document = false;
    int n;

    for (as.form = form, n = 0; n < 2 && !document; n++)
        if (data_next(&as, &at, &local) <= 0 || f->text[at.off] != '{' ||
            !is_object(f->text + at.off, at.n, &document))
            return false;
    return true;
}

/* Of a text that is JSON, by how it begins. */
static enum data_form json_form(const struct data_file *f)
{
    size_t i = skip_space(f->text, f->n, 0), end = i < f->n ? value_end(f->text, f->n, i) : 0;
    const char *line = end ? memchr(f->text + i, '\n', end - i) : NULL;

    if (byte_at(f, i) == '[')
        return DATA_ARRAY;
    return line ? DATA_VALUES : DATA_LINES;
}

static void find_form(struct data_file *f)
{
    static const char *const json[] = {".json",     ".jsonl",  ".ndjson", ".jsonlines",
                                       ".jsonline", ".ldjson", ".jl",     NULL};
    enum data_form form = json_form(f);
    bool named = strcmp(f->name, "-") == 0 || any_suffix(f->name, without_packing(f->name), json);

    f->form = named || looks_like_json(f, form) ? form : DATA_TEXT;
}

/* ---- what is refused ---- */

static int refuse_table(const struct data_file *f, const char *what, struct err *e)
{
    return err_set(e, ERR_INPUT,
                   "'%s' is %s, a table; DuckDB makes JSON lines of it: duckdb -c \"COPY (FROM '%s') TO "
                   "'%s.jsonl' (FORMAT json)\"",
                   shown(f->name), what, shown(f->name), f->stem);
}

static int check_text(const struct data_file *f, struct err *e)
{
    size_t good = f->form == DATA_LINES ? f->n : utf8_check(f->text, f->n);
    const char *name = shown(f->name);

    if (good < f->n)
        return err_set(e, ERR_INPUT, "%s: byte %zu is not UTF-8", name, good);
    if (f->form == DATA_TEXT && memchr(f->text, 0, f->n))
        return err_set(e, ERR_INPUT, "%s: contains the character U+0000", name);
    return 0;
}

static int check_kind(const struct data_file *f, struct err *e)
{
    static const char *const tables[] = {".csv", ".tsv", NULL};
    static const char *const pages[] = {".html", ".htm", ".xhtml", NULL};
    const char *what = magic_kind(f->text, f->n);

    if (what && (magic_may_be_text(f->text, f->n) ||
                 (*f->text == '<' && any_suffix(f->name, without_packing(f->name), pages))))
        what = NULL; /* a text that begins like that, or a page that is called one */
    if (what && strcmp(what, "Parquet") == 0)
        return refuse_table(f, what, e);
    if (what)
        return err_set(e, ERR_INPUT, "'%s' is %s", shown(f->name), what);
    if (any_suffix(f->name, without_packing(f->name), tables))
        return refuse_table(f, "CSV", e);
    return 0;
}

/* ---- all of it ---- */

bool data_file_about(const char *name)
{
    static const char *const about[] = {"readme", "license", "licence", "copying", "notice", "changelog"};
    size_t i, n;

    for (i = 0; i < sizeof about / sizeof *about; i++) {
        n = strlen(about[i]);
        if (strncasecmp(name, about[i], n) == 0 &&
            (!name[n] || strcasecmp(name + n, ".md") == 0 || strcasecmp(name + n, ".txt") == 0 ||
             strcasecmp(name + n, ".rst") == 0))
            return true;
    }
    return false;
}

int data_file_open(struct data_file *f, const char *name, struct err *e)
{
    size_t bom;
    int packed;

    *f = (struct data_file){.name = mem_strdup(name, e), .stem = stem_of(name, e)};
    if (!f->name || !f->stem || file_read(name, UINT64_MAX, &f->text, &f->n, e))
        return -1;
    packed = unpack(&f->text, &f->n, shown(name), e);
    if (packed < 0 || check_kind(f, e))
        return -1;
    f->packed = packed;
    bom = skip_bom(f->text, f->n);
    f->n -= bom;
    memmove(f->text, f->text + bom, f->n + 1);
    find_form(f);
    return check_text(f, e);
}

void data_file_free(struct data_file *f)
{
    free(f->name);
    free(f->stem);
    free(f->text);
    *f = (struct data_file){0};
}
