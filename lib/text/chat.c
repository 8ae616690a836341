/* chat.c -- the chat templates of a model and the tokens that they print; a conversation through them. */
#include "text/chat.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/magic.h"
#include "base/words.h"
#include "jinja/jinja.h"
#include "text/chat_lost.h"
#include "text/tokenizer_gguf.h"

enum { MAX_TEMPLATE = 16 << 20, DIGEST = 16 };

struct chat {
    struct jinja *usual, *with_tools; /* the second may be NULL: the same */
    cJSON *tokens;                    /* bos_token and so on, as strings */
    const char *date;
    char name[DIGEST + 1], digest[HASH_HEX];
};

/* The texts that a model has, in the order in which they were found. */
struct texts {
    struct text {
        char *name, *text;
        size_t n;
    } * of;
    size_t n, cap;
};

static void texts_free(struct texts *t)
{
    size_t i;

    for (i = 0; i < t->n; i++) {
        free(t->of[i].name);
        free(t->of[i].text);
    }
    free(t->of);
}

static const struct text *text_named(const struct texts *t, const char *name)
{
    size_t i;

    for (i = 0; i < t->n; i++)
        if (strcmp(t->of[i].name, name) == 0)
            return &t->of[i];
    return NULL;
}

/* Takes text, which is freed by texts_free or, on failure, here. */
static int add_text(struct texts *t, const char *name, size_t name_n, char *text, size_t n, struct err *e)
{
    struct text *x;

    if (!text || mem_grow(&t->of, &t->cap, t->n + 1, sizeof *t->of, e)) {
        free(text);
        return -1;
    }
    x = &t->of[t->n++];
    *x = (struct text){mem_strndup(name, name_n, e), text, n};
    return x->name ? 0 : -1;
}

static int add_file_text(struct texts *t, const char *path, const char *name, size_t name_n, struct err *e)
{
    const char *kind;
    char *text = NULL;
    size_t n = 0, good;

    if (file_read(path, MAX_TEMPLATE, &text, &n, e))
        return -1;
    kind = magic_kind(text, n);
    good = utf8_check(text, n);
    if (kind || good < n) {
        free(text);
        return kind ? err_set(e, ERR_INPUT, "'%s' is %s", path, kind)
                    : err_set(e, ERR_INPUT, "'%s': byte %zu is not UTF-8", path, good);
    }
    return add_text(t, name, name_n, text, n, e);
}

/* ---- where templates are ---- */

static int additional_texts(struct texts *t, const char *dir, struct err *e)
{
    char *folder = path_join(dir, "additional_chat_templates", e), **names, *path;
    size_t n, i;
    int bad = 0;

    if (!folder || !path_is_dir(folder) || dir_list(folder, &names, &n, e)) {
        bad = !folder || path_is_dir(folder) ? -1 : 0;
        free(folder);
        return bad;
    }
    for (i = 0; i < n && !bad; i++) {
        if (!ends_with(names[i], ".jinja"))
            continue;
        path = path_join(folder, names[i], e);
        bad = path ? add_file_text(t, path, names[i], strlen(names[i]) - strlen(".jinja"), e) : -1;
        free(path);
    }
    dir_free(names, n);
    free(folder);
    return bad;
}

static int config_texts(struct texts *t, const cJSON *config, struct err *e)
{
    const cJSON *all = json_member(config, "chat_template"), *item;
    const char *name, *s = cJSON_GetStringValue(all);

    if (s)
        return add_text(t, "default", 7, mem_strdup(s, e), strlen(s), e);
    cJSON_ArrayForEach(item, all)
    {
        name = cJSON_GetStringValue(json_member(item, "name"));
        s = cJSON_GetStringValue(json_member(item, "template"));
        if (name && s && add_text(t, name, strlen(name), mem_strdup(s, e), strlen(s), e))
            return -1;
    }
    return 0;
}

static int model_texts(struct texts *t, const char *dir, const cJSON *config, struct err *e)
{
    char *jinja = path_join(dir, "chat_template.jinja", e);
    int bad;

    if (!jinja)
        return -1;
    bad = path_exists(jinja) ? add_file_text(t, jinja, "default", 7, e) || additional_texts(t, dir, e)
                             : config_texts(t, config, e);
    free(jinja);
    return bad ? -1 : 0;
}

/* ---- tokens ---- */

/* A token is a string or an object with its content. */
static int add_token(cJSON *tokens, const char *name, const cJSON *v, struct err *e)
{
    const char *s = cJSON_GetStringValue(cJSON_IsObject(v) ? json_member(v, "content") : v);

    if (!s)
        return 0;
    cJSON_DeleteItemFromObjectCaseSensitive(tokens, name);
    return cJSON_AddStringToObject(tokens, name, s) ? 0
                                                    : err_set(e, ERR_NOMEM, "out of memory: special tokens");
}

/* Every member that ends in _token, and those of extra_special_tokens. */
static int add_tokens(cJSON *tokens, const cJSON *from, struct err *e)
{
    const cJSON *v, *extra = json_member(from, "extra_special_tokens");

    cJSON_ArrayForEach(v, from)
    {
        if (v->string && ends_with(v->string, "_token") && add_token(tokens, v->string, v, e))
            return -1;
    }
    cJSON_ArrayForEach(v, extra)
    {
        if (v->string && add_token(tokens, v->string, v, e))
            return -1;
    }
    return 0;
}

static int read_if_there(const char *dir, const char *name, cJSON **json, struct err *e)
{
    char *path = path_join(dir, name, e);
    int bad = !path || (path_exists(path) && json_read(path, MAX_TEMPLATE, json, e));

    free(path);
    return bad ? -1 : 0;
}

/* As transformers: special_tokens_map.json counts where tokenizer_config.json lists no added tokens. */
static int read_tokens(struct chat *c, const char *dir, const cJSON *config, struct err *e)
{
    cJSON *map = NULL;
    int bad;

    c->tokens = cJSON_CreateObject();
    if (!c->tokens)
        return err_set(e, ERR_NOMEM, "out of memory: special tokens");
    bad = add_tokens(c->tokens, config, e) ||
          (!json_member(config, "added_tokens_decoder") &&
           (read_if_there(dir, "special_tokens_map.json", &map, e) || add_tokens(c->tokens, map, e)));
    cJSON_Delete(map);
    return bad ? -1 : 0;
}

/* The keys of tokenizer_config.json; dir may be a GGUF file. */
static int chat_config(const char *dir, cJSON **config, struct err *e)
{
    struct gguf g = {0};
    int bad;

    if (!path_exists(dir) || path_is_dir(dir))
        return read_if_there(dir, "tokenizer_config.json", config, e);
    bad = gguf_open(&g, dir, e) || tokenizer_gguf_config(config, &g, false, e);
    gguf_close(&g);
    return bad ? err_prefix(e, "%s", dir), -1 : 0;
}

/* ---- opening ---- */

static void set_digests(struct chat *c, const struct text *usual, const struct text *with_tools,
                        struct hash *h)
{
    char hex[SHA256_HEX];
    const cJSON *t;

    sha256_hex(usual->text, usual->n, hex);
    memcpy(c->name, hex, DIGEST);
    hash_add(h, hex, sizeof hex);
    if (with_tools) {
        sha256_hex(with_tools->text, with_tools->n, hex);
        hash_add(h, hex, sizeof hex);
    }
    cJSON_ArrayForEach(t, c->tokens)
    {
        hash_add(h, t->string, strlen(t->string) + 1);
        hash_add(h, t->valuestring, strlen(t->valuestring) + 1);
    }
    hash_hex(h, c->digest);
}

static int parse_texts(struct chat *c, const struct text *usual, const struct text *with_tools, struct err *e)
{
    struct hash *h = hash_new(e);

    if (!h)
        return -1;
    set_digests(c, usual, with_tools, h);
    hash_free(h);
    c->usual = jinja_open(usual->text, usual->n, e);
    if (c->usual && with_tools)
        c->with_tools = jinja_open(with_tools->text, with_tools->n, e);
    return c->usual && (c->with_tools || !with_tools) ? 0 : -1;
}

static int no_such_name(const struct texts *t, const char *dir, const char *name, struct err *e)
{
    struct str names = {0};
    size_t i;

    for (i = 0; i < t->n; i++)
        str_addf(&names, "%s'%s'", i ? ", " : "", t->of[i].name);
    err_set(e, ERR_USAGE,
            "--chat: '%s' has no chat template of the name '%s'%s%s; a file is named with a '/' or .jinja",
            dir, name, names.n ? ", but " : "", names.n ? names.p : "");
    str_free(&names);
    return -1;
}

/* The texts that are to be used; *usual is NULL where there is none. */
static int choose_texts(struct texts *t, const char *dir, const cJSON *config, const struct chat_options *o,
                        const struct text **usual, const struct text **with_tools, struct err *e)
{
    const char *name = o->name;

    *with_tools = NULL;
    if (name && (strchr(name, '/') || ends_with(name, ".jinja"))) {
        if (add_file_text(t, name, "default", 7, e))
            return -1;
        *usual = &t->of[0];
        return 0;
    }
    if (model_texts(t, dir, config, e))
        return -1;
    *usual = text_named(t, name ? name : "default");
    if (name)
        return *usual ? 0 : no_such_name(t, dir, name, e);
    *with_tools = text_named(t, "tool_use");
    return 0;
}

static void explain(struct str *why, const char *dir, const struct err *fault)
{
    str_clear(why);
    if (fault)
        str_addf(why, "the chat template of '%s' cannot be read: %s", dir, fault->msg);
    else
        str_addf(why, "'%s' has no chat template", dir);
    str_adds(why, ": name a file with one with --chat, or give the rendered conversations as \"text\"");
}

/* *out is NULL where there is no template, or one that is none: then that is in fault. */
static int load_chat(struct chat **out, const char *dir, const struct chat_options *o, struct err *fault,
                     struct err *e)
{
    const struct text *usual = NULL, *with_tools = NULL;
    struct chat *c = mem_new(1, sizeof *c, e);
    struct texts t = {0};
    cJSON *config = NULL;
    int bad;

    *out = NULL;
    if (!c)
        return -1;
    c->date = o->date;
    bad = chat_config(dir, &config, e) || read_tokens(c, dir, config, e) ||
          choose_texts(&t, dir, config, o, &usual, &with_tools, e);
    if (!bad && usual && parse_texts(c, usual, with_tools, fault))
        bad = fault->kind == ERR_INPUT ? 0 : err_set(e, fault->kind, "%s", fault->msg);
    else if (!bad && usual)
        *out = c;
    texts_free(&t);
    cJSON_Delete(config);
    if (!*out)
        chat_close(c);
    return bad ? -1 : 0;
}

int chat_open(struct chat **out, struct str *why, const char *dir, const struct chat_options *o,
              struct err *e)
{
    struct err fault = {0};

    if (load_chat(out, dir, o, &fault, e))
        return -1;
    if (*out)
        return 0;
    if (o->name && fault.kind)
        return err_set(e, fault.kind, "--chat: %s: %s", o->name, fault.msg);
    explain(why, dir, fault.kind ? &fault : NULL);
    return str_ok(why, e);
}

int chat_problem(char **problem, const char *dir, struct err *e)
{
    const struct chat_options usual = {0};
    struct err fault = {0};
    struct chat *c;

    *problem = NULL;
    if (load_chat(&c, dir, &usual, &fault, e)) {
        if (e->kind != ERR_INPUT)
            return -1;
        fault = *e;
        *e = (struct err){0};
    }
    chat_close(c);
    if (fault.kind)
        *problem = mem_printf(e, "the chat template cannot be read: %s", fault.msg);
    return fault.kind && !*problem ? -1 : 0;
}

void chat_close(struct chat *c)
{
    if (!c)
        return;
    jinja_close(c->usual);
    jinja_close(c->with_tools);
    cJSON_Delete(c->tokens);
    free(c);
}

const char *chat_name(const struct chat *c)
{
    return c->name;
}

const char *chat_digest(const struct chat *c)
{
    return c->digest;
}

const char *chat_lost_name(int i)
{
    static const char *const name[LOST_KINDS] = {"contents", "reasoning", "tools", "calls"};

    return name[i];
}

/* ---- rendering ---- */

static int check(const cJSON *messages, const cJSON *tools, const char *where, struct err *e)
{
    const cJSON *v;
    int i = 0;

    if (!cJSON_IsArray(messages) || !messages->child)
        return err_set(e, ERR_INPUT, "%s: the conversation is not a list of messages", where);
    cJSON_ArrayForEach(v, messages)
    {
        i++;
        if (!cJSON_IsObject(v))
            return err_set(e, ERR_INPUT, "%s: message %d is not an object", where, i);
    }
    if (tools && !cJSON_IsNull(tools) && !cJSON_IsArray(tools))
        return err_set(e, ERR_INPUT, "%s: 'tools' is not a list", where);
    i = 0;
    cJSON_ArrayForEach(v, tools)
    {
        i++;
        if (!cJSON_IsObject(v))
            return err_set(e, ERR_INPUT, "%s: tool %d is not an object", where, i);
    }
    return 0;
}

static const cJSON *reasoning_of(const cJSON *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const cJSON *v;
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        v = json_member(message, names[i]);
        if (v && !cJSON_IsNull(v))
            return v;
    }
    return NULL;
}

/* The message with its reasoning as thinking, which stands first, and as reasoning_content. All by reference.
 */
static cJSON *aliased(const cJSON *message, const cJSON *reasoning)
{
    cJSON *copy = cJSON_CreateObject();
    const cJSON *v;
    bool good = copy != NULL;

    if (good && !json_member(message, "thinking"))
        good = cJSON_AddItemReferenceToObject(copy, "thinking", (cJSON *)reasoning);
    cJSON_ArrayForEach(v, message) good =
        good && cJSON_AddItemReferenceToObject(
                    copy, v->string, (cJSON *)(strcmp(v->string, "reasoning_content") == 0 ? reasoning : v));
    if (good && !json_member(message, "reasoning_content"))
        good = cJSON_AddItemReferenceToObject(copy, "reasoning_content", (cJSON *)reasoning);
    if (good)
        return copy;
    cJSON_Delete(copy);
    return NULL;
}

static int alias_all(const cJSON *messages, cJSON **out, struct err *e)
{
    const cJSON *m, *reasoning;

    *out = cJSON_CreateArray();
    if (!*out)
        return err_set(e, ERR_NOMEM, "out of memory: a conversation");
    cJSON_ArrayForEach(m, messages)
    {
        cJSON *copy;

        reasoning = reasoning_of(m);
        if (!reasoning ? cJSON_AddItemReferenceToArray(*out, (cJSON *)m)
                       : (copy = aliased(m, reasoning)) && cJSON_AddItemToArray(*out, copy))
            continue;
        return err_set(e, ERR_NOMEM, "out of memory: a conversation");
    }
    return 0;
}

/* Parameters of apply_chat_template that are not for the template. */
static bool is_parameter(const char *name)
{
    static const char *const list[] = {"chat_template",
                                       "continue_final_message",
                                       "tokenize",
                                       "padding",
                                       "truncation",
                                       "max_length",
                                       "return_tensors",
                                       "return_dict",
                                       "return_assistant_tokens_mask",
                                       "tokenizer_kwargs"};
    size_t i;

    for (i = 0; i < sizeof list / sizeof *list && strcmp(name, list[i]) != 0; i++)
        ;
    return i < sizeof list / sizeof *list;
}

/* own[0..n) is what a template is given in any case. */
static int check_more(const struct chat_more *more, const struct jinja_variable *own, int n,
                      struct chat_result *result, const char *where, struct err *e)
{
    int i, k;

    for (i = 0; i < more->n; i++) {
        const struct jinja_variable *v = &more->v[i];

        if (!v->read)
            continue;
        for (k = 0; k < n && strcmp(own[k].name, v->name) != 0; k++)
            ;
        if (k < n || is_parameter(v->name))
            return err_set(e, ERR_INPUT,
                           "%s: '%.60s' is not for the document to give to the chat template: remove it",
                           where, v->name);
        if (!result->given[0])
            snprintf(result->given, sizeof result->given, "%.60s", v->name);
    }
    return 0;
}

/* -1: result says what the template raised; 1: more cannot be given, e says why. */
static int print(const struct chat *c, const cJSON *messages, const cJSON *tools, bool generate,
                 struct chat_more *more, const char *where, struct str *out, struct chat_result *result,
                 struct err *e)
{
    const struct jinja_options o = {.now = c->date};
    const cJSON prompt = {.type = generate ? cJSON_True : cJSON_False}, *t;
    const bool has_tools = tools && !cJSON_IsNull(tools);
    const int first = 1 + (more ? more->n : 0);
    int n = first + 3 + cJSON_GetArraySize(c->tokens), bad;
    struct jinja_variable *v = mem_new((size_t)n, sizeof *v, &result->raised);

    if (!v)
        return -1;
    v[0] = (struct jinja_variable){.name = "documents"};
    if (first > 1)
        memcpy(v + 1, more->v, (size_t)more->n * sizeof *v);
    n = first;
    cJSON_ArrayForEach(t, c->tokens) v[n++] = (struct jinja_variable){t->string, t, false};
    v[n++] = (struct jinja_variable){"messages", messages, false};
    v[n++] = (struct jinja_variable){"tools", has_tools ? tools : NULL, false};
    v[n++] = (struct jinja_variable){"add_generation_prompt", &prompt, false};
    bad = jinja_render(has_tools && c->with_tools ? c->with_tools : c->usual, v, n, &o, out, &result->raised);
    if (!bad && first > 1) {
        memcpy(more->v, v + 1, (size_t)more->n * sizeof *v);
        bad = check_more(more, v + first, n - first, result, where, e) ? 1 : 0;
    }
    free(v);
    return bad;
}

int chat_render(const struct chat *c, const cJSON *messages, const cJSON *tools, struct chat_more *more,
                const char *where, struct str *out, struct chat_result *result, struct err *e)
{
    size_t before = out->n;
    cJSON *given = NULL;
    const char *role;
    int bad;

    *result = (struct chat_result){.lost = 0};
    if (check(messages, tools, where, e))
        return -1;
    role = cJSON_GetStringValue(
        json_member(messages->child->prev, "role")); /* cJSON: the first one's prev is the last */
    bad = alias_all(messages, &given, e);
    if (!bad)
        bad = print(c, given, tools, !role || strcmp(role, "assistant") != 0, more, where, out, result, e);
    if (result->raised.kind) {
        bad = 0;
        out->n = before;
        if (result->raised.kind == ERR_USAGE && !c->date)
            bad = err_set(e, ERR_USAGE,
                          "%s: the chat template prints the date of the day: fix it with --date YYYY-MM-DD",
                          where);
        else if (result->raised.kind != ERR_INPUT)
            bad = err_set(e, result->raised.kind, "%s: %s", where, result->raised.msg);
    } else if (!bad) {
        bad = str_ok(out, e) || (out->n > before && chat_lost(messages, tools, out->p + before,
                                                              out->n - before, &result->lost, e));
    }
    cJSON_Delete(given);
    return bad ? -1 : 0;
}
