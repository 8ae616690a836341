/*
 * config_edit.c -- the few values of config.json that a cut changes.
 */
#include "surgery/config_edit.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/json_out.h"
#include "base/words.h"
#include "model/container.h"

enum { MAX_BESIDE = 64 << 20 };

/* config.json under way. */
struct edit {
    char **text;
    size_t *n;
    const char *what; /* path, for messages */
    bool nested;      /* the model's keys stand inside text_config */
    struct err *e;
};

static void key_path(const struct edit *x, const char *key, const char *path[3])
{
    path[0] = x->nested ? "text_config" : key;
    path[1] = x->nested ? key : NULL;
    path[2] = NULL;
}

/* The byte range of a key's value: 1 found, 0 absent, -1 error. */
static int find_value(const struct edit *x, const char *key, size_t *from, size_t *to)
{
    const char *path[3];

    key_path(x, key, path);
    return json_find(*x->text, *x->n, x->what, path, from, to, x->e);
}

/* 0, also if there is no such key; -1 error. */
static int set_value(struct edit *x, const char *key, const char *value)
{
    const char *path[3];

    key_path(x, key, path);
    return json_replace(x->text, x->n, x->what, path, value, x->e) < 0 ? -1 : 0;
}

static int set_all(struct edit *x, const char *const *keys, size_t max, int value)
{
    char number[16];
    size_t i;

    snprintf(number, sizeof number, "%d", value);
    for (i = 0; i < max && keys[i]; i++)
        if (set_value(x, keys[i], number))
            return -1;
    return 0;
}

/* Every number of the list under key. */
static int set_list(struct edit *x, const char *key, int value)
{
    size_t from, to, begin, end, copied = 0;
    int found = find_value(x, key, &from, &to), r = -1;
    struct str out = {0};
    char *list;
    struct js js;

    if (found <= 0 || (*x->text)[from] != '[')
        return found < 0 ? -1 : 0;
    list = mem_strndup(*x->text + from, to - from, x->e);
    if (!list || js_init(&js, list, to - from, x->what, x->e))
        goto done;
    js_open(&js, '[');
    while (js_item(&js)) {
        bool number = js_peek(&js) == '0';

        if (js_skip(&js, &begin, &end) || !number)
            continue;
        str_add(&out, list + copied, begin - copied);
        str_addf(&out, "%d", value);
        copied = end;
    }
    str_add(&out, list + copied, to - from - copied);
    if (js_end(&js) || str_ok(&out, x->e))
        goto done;
    r = set_value(x, key, out.p);
done:
    str_free(&out);
    free(list);
    return r;
}

/* Numbers other than 0 become 0; *changed: there was one. */
static int drop_mtp(struct edit *x, const char *const *keys, size_t max, bool *changed)
{
    size_t i, from, to;

    for (i = 0; i < max && keys[i]; i++) {
        int found = find_value(x, keys[i], &from, &to);
        bool number = found > 0 && isdigit((unsigned char)(*x->text)[from]);

        if (found < 0)
            return -1;
        if (!number || (to - from == 1 && (*x->text)[from] == '0'))
            continue;
        if (set_value(x, keys[i], "0"))
            return -1;
        *changed = true;
    }
    return 0;
}

static int temperature_as_bool(struct edit *x, bool *changed)
{
    static const char key[] = "attn_temperature_tuning";
    size_t from, to;
    int found = find_value(x, key, &from, &to);
    double v;

    if (found <= 0)
        return found;
    v = strtod(*x->text + from, NULL);
    if (!strchr("-0123456789", (*x->text)[from]))
        return 0;
    *changed = true;
    return set_value(x, key, v != 0 ? "true" : "false");
}

/* Where an expert's number stands in a module or tensor name. */
struct mention {
    int layer, expert;
    size_t from, to; /* of the digits */
};

/* "...layers.L. ... .experts.J" followed by '.' or the end. */
static bool find_mention(const char *s, struct mention *x)
{
    const char *layers = strstr(s, "layers."), *experts = strstr(s, ".experts.");
    const char *at;

    if (!layers || !experts || experts < layers)
        return false;
    at = layers + strlen("layers.");
    if (!take_number(&at, &x->layer) || *at != '.')
        return false;
    at = experts + strlen(".experts.");
    x->from = (size_t)(at - s);
    if (!take_number(&at, &x->expert))
        return false;
    x->to = (size_t)(at - s);
    return *at == '.' || !*at;
}

/* A digit that follows "experts" and punctuation, as in a name or a regular expression. */
static bool has_number(const char *s)
{
    const char *p;

    for (p = s; (p = strstr(p, "experts")) != NULL;) {
        p += strlen("experts");
        while (*p && strchr("\\.([", *p))
            p++;
        if (isdigit((unsigned char)*p))
            return true;
    }
    return false;
}

struct renumber {
    const struct cut *c;
    const char *text;
    struct js js;
    struct str out; /* the text so far */
    size_t copied;  /* bytes of text that are in out, or left out on purpose */
};

static void copy_to(struct renumber *r, size_t to)
{
    if (to > r->copied)
        str_add(&r->out, r->text + r->copied, to - r->copied);
    r->copied = to;
}

/* A string in a list: 1 if it stays, 0 if it names an expert that is dropped, -1 refused. */
static int rename_item(struct renumber *r, const char *s, struct str *renamed)
{
    struct mention x;
    int number;

    str_clear(renamed);
    if (strncmp(s, "re:", 3) == 0 && has_number(s))
        return js_fail(&r->js, "the pattern '%s' names an expert by number and cannot be renumbered", s);
    if (!find_mention(s, &x) || x.layer >= r->c->layers || !r->c->moe[x.layer] || x.expert >= r->c->experts)
        return 1;
    number = cut_number(r->c, x.layer, x.expert);
    if (number < 0)
        return 0;
    str_add(renamed, s, x.from);
    str_addf(renamed, "%d", number);
    str_adds(renamed, s + x.to);
    return 1;
}

static int walk(struct renumber *r);

/* Items of dropped experts go with the comma and white space before them; if nothing is left before an item
 * that stays, the comma that stood there goes. */
static int walk_list(struct renumber *r)
{
    struct str value = {0}, renamed = {0};
    size_t end = (size_t)(r->js.p - r->text) + 1; /* of the item before, or of '[' */
    bool any = false, dropped = false;

    js_open(&r->js, '[');
    while (js_item(&r->js)) {
        bool is_string = js_peek(&r->js) == '"';
        size_t from = (size_t)(r->js.p - r->text);
        int stays = is_string && js_string(&r->js, &value) ? -1
                    : is_string                            ? rename_item(r, value.p, &renamed)
                                                           : 1;

        if (stays < 0)
            break;
        if (!stays) {
            copy_to(r, end);
            end = r->copied = (size_t)(r->js.p - r->text);
            dropped = true;
            continue;
        }
        if (dropped && !any)
            while (r->text[r->copied++] != ',')
                ;
        any = true;
        copy_to(r, from);
        if (!is_string && walk(r))
            break;
        if (is_string && renamed.n) {
            json_quote(&r->out, renamed.p, renamed.n);
            r->copied = (size_t)(r->js.p - r->text);
        }
        end = (size_t)(r->js.p - r->text);
    }
    str_free(&value);
    str_free(&renamed);
    return r->js.e->kind ? -1 : 0;
}

/* One value; lists within it are rewritten. */
static int walk(struct renumber *r)
{
    struct str key = {0};

    switch (js_peek(&r->js)) {
    case '{':
        js_open(&r->js, '{');
        while (js_key(&r->js, &key))
            if (has_number(key.p)) {
                js_fail(&r->js, "the key '%s' names an expert by number and cannot be renumbered", key.p);
                break;
            } else if (walk(r)) {
                break;
            }
        str_free(&key);
        break;
    case '[':
        return walk_list(r);
    default:
        js_skip(&r->js, NULL, NULL);
    }
    return r->js.e->kind ? -1 : 0;
}

static int renumber_lists(struct edit *x, const struct cut *c)
{
    static const char *const path[] = {"quantization_config", NULL};
    struct renumber r = {.c = c};
    size_t from, to;
    char *value;
    int found = json_find(*x->text, *x->n, x->what, path, &from, &to, x->e), ret = -1;

    if (found <= 0)
        return found;
    value = mem_strndup(*x->text + from, to - from, x->e);
    if (!value)
        return -1;
    r.text = value;
    if (js_init(&r.js, value, to - from, x->what, x->e) || walk(&r))
        goto done;
    copy_to(&r, to - from);
    if (str_ok(&r.out, x->e))
        goto done;
    ret = json_replace(x->text, x->n, x->what, path, r.out.p, x->e) < 0 ? -1 : 0;
done:
    str_free(&r.out);
    free(value);
    return ret;
}

/* Files beside config.json that say how tensors are stored go along as they are: no expert may be in them by
 * number. */
static int check_beside(const struct model *m, struct err *e)
{
    static const char *const name[] = {"hf_quant_config.json", "quantization_config.json",
                                       "quantize_config.json"};
    size_t i, n;
    int r = 0;

    for (i = 0; i < sizeof name / sizeof *name && !r && m->ckpt.container->folder; i++) {
        char *path = path_join(m->dir, name[i], e), *text = NULL;

        r = path ? 0 : -1;
        if (path && path_exists(path))
            r = file_read(path, MAX_BESIDE, &text, &n, e);
        if (text && has_number(text))
            r = err_set(e, ERR_UNKNOWN, "'%s' names experts by number, which is not followed there", path);
        free(text);
        free(path);
    }
    return r;
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

static int edit_all(struct edit *x, const struct model *m, const struct cut *c,
                    struct config_changes *changes)
{
    const struct family *f = m->arch.family;

    if (set_all(x, f->key_experts, COUNT(f->key_experts), c->kept) ||
        (changes->topk < m->arch.topk && set_all(x, f->key_topk, COUNT(f->key_topk), changes->topk)) ||
        (f->key_capacity && set_list(x, f->key_capacity, c->kept)) ||
        (c->drop_mtp && drop_mtp(x, f->key_mtp, COUNT(f->key_mtp), &changes->mtp)) ||
        (f->temperature && temperature_as_bool(x, &changes->temperature)))
        return -1;
    return renumber_lists(x, c);
}

int config_cut(const struct model *m, const struct cut *c, char **text, size_t *n,
               struct config_changes *changes, struct err *e)
{
    struct edit x = {text, n, m->config_name, m->arch.nested, e};
    int r = -1;

    *text = NULL;
    if (c->kept < c->experts && check_beside(m, e))
        return -1;
    *changes = (struct config_changes){.topk = m->arch.topk < c->kept ? m->arch.topk : c->kept};
    *n = m->config_n;
    *text = mem_strndup(m->config_text, m->config_n, e);
    if (*text)
        r = edit_all(&x, m, c, changes);
    if (r) {
        free(*text);
        *text = NULL;
    }
    return r;
}
