/*
 * config_edit.c -- the few values of config.json that a cut changes.
 */
#include "surgery/config_edit.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "surgery/quant_names.h"

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

/* Lists in quantization_config, which text models inside others may have to themselves. */
static int renumber_lists(struct edit *x, const struct cut *c, const char *const path[3])
{
    size_t from, to, n;
    char *value, *renamed = NULL;
    int found = json_find(*x->text, *x->n, x->what, path, &from, &to, x->e), r = -1;

    if (found <= 0 || c->kept == c->experts)
        return found < 0 ? -1 : 0;
    value = mem_strndup(*x->text + from, to - from, x->e);
    if (value && quant_names_cut(value, to - from, x->what, c, &renamed, &n, x->e) == 0)
        r = json_replace(x->text, x->n, x->what, path, renamed, x->e) < 0 ? -1 : 0;
    free(renamed);
    free(value);
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
    return renumber_lists(x, c, (const char *const[]){"quantization_config", NULL, NULL}) ||
                   (x->nested &&
                    renumber_lists(x, c, (const char *const[]){"text_config", "quantization_config", NULL}))
               ? -1
               : 0;
}

int config_cut(const struct model *m, const struct cut *c, char **text, size_t *n,
               struct config_changes *changes, struct err *e)
{
    struct edit x = {text, n, m->config_name, m->arch.nested, e};
    int r = -1;

    *text = NULL;
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
