/* jinja.c -- opening a template and rendering it: what is given becomes values, and failures come back here.
 */
#include "jinja/jinja.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "jinja/evaluate.h"

struct jinja *jinja_open(const char *text, size_t n, struct err *e)
{
    struct jinja *t = mem_new(1, sizeof *t, e);
    struct parse p = {.t = t, .text = text, .n = n, .e = e};

    if (!t)
        return NULL;
    t->arena.limit = UINT32_MAX;
    if (setjmp(p.leave)) {
        jinja_close(t);
        return NULL;
    }
    parse_template(&p);
    return t;
}

void jinja_close(struct jinja *t)
{
    if (!t)
        return;
    map_free(&t->symbols);
    arena_free(&t->arena);
    free(t);
}

/* ---- what is given ---- */

static struct value number(struct run *r, const cJSON *j)
{
    const char *s = j->valuestring;
    char *end;
    int64_t i;

    if (s ? strpbrk(s, ".eE") != NULL
          : j->valuedouble != floor(j->valuedouble) || fabs(j->valuedouble) > 9007199254740992.0)
        return v_float(j->valuedouble);
    if (!s)
        return v_int((int64_t)j->valuedouble);
    errno = 0;
    i = strtoll(s, &end, 10);
    if (errno)
        return (struct value){.kind = BIG, .n = (uint32_t)strlen(s), .s = s};
    if (*end)
        run_fail(r, "ValueError", "'%.40s' is no number", s);
    return v_int(i);
}

static struct value from_json(struct run *r, const cJSON *j);

static struct value members(struct run *r, const cJSON *j)
{
    uint32_t n = 0;
    const cJSON *c;
    struct value v;

    for (c = j->child; c; c = c->next)
        n++;
    v = v_dict(r, n);
    for (c = j->child; c; c = c->next)
        dict_set(r, v.dict, v_text(c->string), from_json(r, c));
    return v;
}

static struct value elements(struct run *r, const cJSON *j)
{
    uint32_t n = 0;
    const cJSON *c;
    struct value v;

    for (c = j->child; c; c = c->next)
        n++;
    v = v_list(r, n);
    for (n = 0, c = j->child; c; c = c->next)
        v.item[n++] = from_json(r, c);
    return v;
}

static struct value from_json(struct run *r, const cJSON *j)
{
    struct value v = v_none();

    run_deeper(r);
    if (cJSON_IsString(j))
        v = v_text(j->valuestring);
    else if (cJSON_IsNumber(j))
        v = number(r, j);
    else if (cJSON_IsBool(j))
        v = v_bool(cJSON_IsTrue(j));
    else if (cJSON_IsArray(j))
        v = elements(r, j);
    else if (cJSON_IsObject(j))
        v = members(r, j);
    r->depth--;
    return v;
}

static void set_globals(struct run *r, const struct jinja_variable *v, int n)
{
    const struct map *symbols = &r->t->symbols;
    const struct builtin *f;
    int i;

    r->global = run_get(r, symbols->n * sizeof *r->global);
    memset(r->global, 0, symbols->n * sizeof *r->global);
    r->read = run_get(r, symbols->n * sizeof *r->read);
    memset(r->read, 0, symbols->n * sizeof *r->read);
    for (f = functions; f->name; f++) {
        int32_t k = map_find(symbols, f->name, strlen(f->name));

        if (k >= 0)
            r->global[k] = (struct value){.kind = FUNCTION, .builtin = f};
    }
    for (i = 0; i < n; i++) {
        int32_t k = map_find(symbols, v[i].name, strlen(v[i].name));

        if (k >= 0)
            r->global[k] = v[i].value ? from_json(r, v[i].value) : v_none();
    }
}

static void tell_read(const struct run *r, struct jinja_variable *v, int n)
{
    int i;

    for (i = 0; i < n; i++) {
        int32_t k = map_find(&r->t->symbols, v[i].name, strlen(v[i].name));

        v[i].read = k >= 0 && r->read[k];
    }
}

static void check_surrogates(struct run *r)
{
    size_t n = r->out->n - r->start;

    if (r->t->surrogates && n && utf8_check(r->out->p + r->start, n) < n)
        run_fail(r, "UnicodeEncodeError", "the text has half a character: surrogates not allowed");
}

int jinja_render(const struct jinja *t, struct jinja_variable *v, int n, const struct jinja_options *o,
                 struct str *out, struct err *e)
{
    jmp_buf leave;
    struct run *r = mem_new(1, sizeof *r, e);
    int bad = -1;

    if (!r)
        return -1;
    r->t = t;
    r->bytes = o->bytes ? o->bytes : 1 << 30;
    r->steps = o->steps ? o->steps : 1 << 26;
    r->arena.limit = r->bytes;
    r->out = out;
    r->start = out->n;
    r->now = o->now;
    r->line = 1;
    r->e = e;
    r->leave = &leave;
    if (!setjmp(leave)) {
        set_globals(r, v, n);
        r->frame = r->root = frame_push(r, t->root, NULL);
        execute(r, t->body);
        run_spend(r, 0);
        check_surrogates(r);
        tell_read(r, v, n);
        bad = 0;
    }
    arena_free(&r->arena);
    free(r);
    return bad;
}
