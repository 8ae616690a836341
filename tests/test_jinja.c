/*
 * test_jinja.c -- the interpreter of chat templates: tests/data/jinja/cases.jsonl, a template a line with
 * what jinja2 makes of it in the environment of transformers (the text, or the name of the exception), its
 * limits, and damaged templates.
 */
#include "check.h"

#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "jinja/jinja.h"
#include "jinja/numbers.h"

static struct jinja_variable variable[32];
static int variables;

static const cJSON *get(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

/* What the template prints, 0, or -1. */
static int render(const char *text, size_t n, const struct jinja_options *o, struct str *out, struct err *e)
{
    struct jinja *t = jinja_open(text, n, e);
    int bad;

    if (!t)
        return -1;
    bad = jinja_render(t, variable, variables, o, out, e);
    jinja_close(t);
    return bad;
}

/* The name of the exception in "line 3: TypeError: ...". */
static void exception(const struct err *e, char name[40])
{
    const char *p = strchr(e->msg, ':');

    snprintf(name, 40, "%.*s", p ? (int)strcspn(p + 2, ":") : 0, p ? p + 2 : "");
}

static void one_case(const cJSON *row)
{
    static const struct jinja_options options = {.now = "2026-03-09 12:00:00"};
    const char *text = cJSON_GetStringValue(get(row, "template")),
               *want = cJSON_GetStringValue(get(row, "text"));
    const char *raises = cJSON_GetStringValue(get(row, "raises"));
    struct str out = {0};
    struct err e = {0};
    char name[40];
    int bad = render(text, strlen(text), &options, &out, &e);

    if (raises) {
        exception(&e, name);
        CHECK_MSG(bad && strncmp(e.msg, "line ", 5) == 0 && strcmp(name, raises) == 0,
                  "%s\n    %s (%s), not %s", text, bad ? e.msg : "rendered", out.p ? out.p : "", raises);
    } else {
        CHECK_MSG(!bad && out.n == strlen(want) && memcmp(out.n ? out.p : "", want, out.n) == 0,
                  "%s\n    %s%s\n    is not\n    %s", text, bad ? e.msg : "", out.p ? out.p : "", want);
    }
    str_free(&out);
}

static void give(const cJSON *given)
{
    const cJSON *v;

    cJSON_ArrayForEach(v, given) variable[variables++] = (struct jinja_variable){v->string, v, false};
}

static cJSON *first; /* the row of variables */
static char *file;
static size_t size;

static void each_case(void (*fn)(const cJSON *row))
{
    struct err e = {0};
    char *p, *end;

    for (p = file; p < file + size; p = end + 1) {
        cJSON *row = NULL;

        end = memchr(p, '\n', (size_t)(file + size - p));
        end = end ? end : file + size;
        CHECK_MSG(json_parse(p, (size_t)(end - p), "case", &row, &e) == 0 &&
                      json_keep_numbers(row, p, (size_t)(end - p), "case", &e) == 0,
                  "%s", e.msg);
        if (get(row, "variables")) {
            first = row;
            give(get(row, "variables"));
            continue;
        }
        fn(row);
        cJSON_Delete(row);
    }
}

static void fails(const char *text, const struct jinja_options *o, const char *with)
{
    struct str out = {0};
    struct err e = {0};

    CHECK_MSG(render(text, strlen(text), o, &out, &e) != 0 && strstr(e.msg, with), "%s: '%s' is not '%s'",
              text, e.msg, with);
    str_free(&out);
}

static void test_limits(void)
{
    static const struct jinja_options none = {0}, small = {.bytes = 1 << 20}, few = {.steps = 10000};
    static const char *const day = "{{ strftime_now('%d') }}";
    char deep[8000];
    size_t i;

    fails("\n{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", &few,
          "line 2: TimeoutError");
    fails("{% for i in range(99999) %}{{ 'abcdefghijklmnopqrstuvwxyz' }}{% endfor %}", &small, "MemoryError");
    fails("{% set x = 'abcdefgh' * 100000 %}{{ x * 100000 }}", &small, "MemoryError");
    fails("{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
          &none, "MemoryError");
    fails("{{ '%999999999d' % 5 }}{{ '%*d' % (999999999, 5) }}", &none, "MemoryError");
    fails(day, &none, "prints the date");
    fails(day, &(struct jinja_options){.now = "yesterday"}, "is not YYYY-MM-DD");
    for (i = 0; i < sizeof deep - 1; i++)
        deep[i] = i < 2 ? '{' : '(';
    deep[i] = 0;
    fails(deep, &none, "TemplateSyntaxError");
    for (i = 2; i < sizeof deep - 1; i++)
        deep[i] = '-';
    fails(deep, &none, "TemplateSyntaxError");
    fails("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ "
          "ns.x }}",
          &none, "RecursionError");
    fails("{{ '\\ud83d\\ude00' }}", &none, "UnicodeEncodeError");
    fails("a\n\n{{ nothing.x }}", &none, "line 3: UndefinedError: 'nothing' is undefined");
}

/* A byte changed, left out or doubled: refused or rendered, nothing worse. */
static void damage(const cJSON *row)
{
    static const struct jinja_options little = {.steps = 20000, .bytes = 1 << 20, .now = "2026-03-09"};
    static const char with[] = "{}%#-'\"()[]|.,:~+*/ \n\\ax01=<";
    static uint64_t state = 7;
    const char *text = cJSON_GetStringValue(get(row, "template"));
    size_t n = strlen(text), at;
    int i;

    for (i = 0; i < 12 && n; i++) {
        struct str out = {0}, s = {0};
        struct err e = {0};
        uint64_t random = splitmix64(state += SPLITMIX64_STEP);

        at = random % n;
        str_add(&s, text, at);
        if (random >> 60 < 8)
            str_addc(&s, with[(random >> 32) % (sizeof with - 1)]);
        str_add(&s, text + at + (random >> 60 < 12), n - at - (random >> 60 < 12));
        if (utf8_check(s.p, s.n) == s.n)
            CHECK((render(s.p, s.n, &little, &out, &e) == 0) == (e.kind == ERR_NONE));
        str_free(&s);
        str_free(&out);
    }
}

int main(void)
{
    struct err e = {0};

    CHECK_MSG(file_read("tests/data/jinja/cases.jsonl", 1 << 24, &file, &size, &e) == 0, "%s", e.msg);
    each_case(one_case);
    test_limits();
    variables = 0;
    cJSON_Delete(first);
    each_case(damage);
    cJSON_Delete(first);
    free(file);
    CHECK_END();
}
