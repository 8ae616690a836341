/* document.c -- the kinds of content, and conversations in the shape that templates read. */
#include "text/document.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "jinja/numbers.h"

/* The members that are content, and what may stand beside each. Nothing that a document says is left out
 * without a word: a statistic of half a text looks like one of the whole. */
static const struct {
    const char *name;
    enum document_kind kind;
    bool alone; /* beside it only what describes the document; else all but what is known to be lost */
    const char *used[3]; /* rendered with it */
} content[] = {
    {"messages", DOC_MESSAGES, false, {"tools", NULL}},
    {"conversations", DOC_CONVERSATIONS, false, {"tools", NULL}},
    {"instruction", DOC_INSTRUCTION, true, {"input", "output", "tools"}},
    {"prompt", DOC_PROMPT, true, {NULL}},
    {"text", DOC_TEXT, false, {NULL}},
    {"ids", DOC_IDS, false, {NULL}},
};
enum { KINDS = sizeof content / sizeof *content, USED = 3 };

/* Other names of what is content, in any case. */
static const char *const lost[] = {"system",
                                   "system_prompt",
                                   "history",
                                   "tools",
                                   "functions",
                                   "documents",
                                   "completion",
                                   "completions",
                                   "response",
                                   "responses",
                                   "output",
                                   "outputs",
                                   "answer",
                                   "answers",
                                   "target",
                                   "targets",
                                   "solution",
                                   "solutions",
                                   "reply",
                                   "chosen",
                                   "rejected",
                                   "thinking",
                                   "reasoning",
                                   "reasoning_content",
                                   "image",
                                   "images",
                                   "video",
                                   "videos",
                                   "audio",
                                   "audios",
                                   "chat_template",
                                   "chat_template_kwargs",
                                   "continue_final_message",
                                   "reasoning_effort",
                                   "model_identity",
                                   "custom_instructions",
                                   "builtin_tools",
                                   "custom_tools",
                                   "xml_tools",
                                   "python_tools",
                                   NULL};

/* What describes a document and is no part of it; and so do names that end in one of these behind _. */
static const char *const about[] = {
    "id",       "uid",     "uuid",      "idx",     "index",      "category", "source",  "dataset",
    "subset",   "split",   "origin",    "url",     "meta",       "metadata", "license", "lang",
    "language", "type",    "kind",      "name",    "title",      "topic",    "subject", "domain",
    "task",     "tag",     "tags",      "label",   "difficulty", "level",    "model",   "author",
    "date",     "created", "timestamp", "version", "file",       "filename", "path",    "repo",
    "score",    "hash",    "sha",       "field",   "format",     NULL};

static const cJSON *get(const cJSON *o, const char *name)
{
    const cJSON *v = json_member(o, name);

    return v && cJSON_IsNull(v) ? NULL : v;
}

static bool among(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (strcasecmp(name, *list) == 0)
            return true;
    return false;
}

static bool is_about(const char *name, const char *category_field)
{
    const char *last = strrchr(name, '_');

    return strcmp(name, category_field) == 0 || among(name, about) || (last && among(last + 1, about));
}

static bool is_used(int found, const char *name)
{
    int i;

    for (i = 0; i < USED && content[found].used[i]; i++)
        if (strcmp(name, content[found].used[i]) == 0)
            return true;
    return strcmp(name, content[found].name) == 0;
}

/* What Python takes for true. */
static bool says_something(const cJSON *v)
{
    if (!v || cJSON_IsNull(v) || cJSON_IsFalse(v))
        return false;
    if (cJSON_IsString(v))
        return *v->valuestring != 0;
    if (cJSON_IsNumber(v))
        return v->valuedouble != 0;
    return cJSON_IsTrue(v) || v->child != NULL;
}

/* Numbers and truth values are content only by their names. */
static bool would_be_lost(int found, const cJSON *v, const char *category_field)
{
    bool text = cJSON_IsString(v) || cJSON_IsArray(v) || cJSON_IsObject(v);

    if (!says_something(v) || is_used(found, v->string))
        return false;
    return among(v->string, lost) || (content[found].alone && text && !is_about(v->string, category_field));
}

/* Readers differ in which of two they take. */
static bool is_twice(const cJSON *object, const char *name)
{
    const cJSON *v;
    int n = 0;

    cJSON_ArrayForEach(v, object) n += strcmp(v->string, name) == 0;
    return n > 1;
}

/* A mask that hides something: ids that are padding. */
static bool hides(const cJSON *mask)
{
    const cJSON *v;

    cJSON_ArrayForEach(v, mask)
    {
        if (!cJSON_IsTrue(v) && !(cJSON_IsNumber(v) && v->valuedouble != 0))
            return true;
    }
    return false;
}

/* What stands beside a conversation may be for its template, which is asked when it is rendered. */
static bool is_chat(enum document_kind kind)
{
    return kind == DOC_MESSAGES || kind == DOC_CONVERSATIONS || kind == DOC_INSTRUCTION;
}

bool document_is_content(const cJSON *object)
{
    int i;

    for (i = 0; i < KINDS && !get(object, content[i].name); i++)
        ;
    return i < KINDS;
}

static int refuse_lost(const cJSON *v, int found, const char *where, struct err *e)
{
    return err_set(e, ERR_INPUT,
                   "%s: '%.60s' beside '%s' is not understood and would be left out: make messages of "
                   "both, or remove it",
                   where, v->string, content[found].name);
}

static int find_content(struct document *d, const char *category_field, const char *where, struct err *e)
{
    int i, found = -1;
    const cJSON *v;

    for (i = 0; i < KINDS; i++) {
        if (!get(d->json, content[i].name))
            continue;
        if (found >= 0)
            return err_set(e, ERR_INPUT, "%s: has both '%s' and '%s': leave one out", where,
                           content[found].name, content[i].name);
        found = i;
    }
    if (found < 0)
        return err_set(e, ERR_INPUT,
                       "%s: has none of messages, conversations, instruction and output, prompt, text, ids",
                       where);
    if (content[found].kind == DOC_IDS && hides(get(d->json, "attention_mask")))
        return err_set(e, ERR_INPUT, "%s: 'attention_mask' hides ids: leave them out", where);
    cJSON_ArrayForEach(v, d->json)
    {
        if (is_used(found, v->string) && is_twice(d->json, v->string))
            return err_set(e, ERR_INPUT, "%s: has '%s' twice", where, v->string);
        if (!is_chat(content[found].kind) && would_be_lost(found, v, category_field))
            return refuse_lost(v, found, where, e);
    }
    d->kind = content[found].kind;
    return 0;
}

static const char *category_of(struct document *d, const cJSON *category)
{
    double x = cJSON_IsNumber(category) ? category->valuedouble : NAN;

    if (!(fabs(x) < 9007199254740992.0) || x != trunc(x))
        return cJSON_GetStringValue(category);
    snprintf(d->number, sizeof d->number, "%lld", (long long)x);
    return d->number;
}

int document_parse(struct document *d, const char *line, size_t n, const char *category_field,
                   const char *where, struct err *e)
{
    const cJSON *category;

    *d = (struct document){0};
    if (json_parse(line, n, where, &d->json, e))
        return -1;
    if (!cJSON_IsObject(d->json))
        return err_set(e, ERR_INPUT, "%s: is not a JSON object (one a line is expected)", where);
    category = get(d->json, category_field);
    d->category = category_of(d, category);
    d->category_field = category_field;
    if (category && (!d->category || !*d->category))
        return err_set(e, ERR_INPUT, "%s: '%s' is neither a string with something in it nor a whole number",
                       where, category_field);
    return find_content(d, category_field, where, e);
}

void document_free(struct document *d)
{
    cJSON_Delete(d->json);
    *d = (struct document){0};
}

bool document_is_chat(const struct document *d)
{
    return is_chat(d->kind);
}

int document_ids(const struct document *d, int vocab, const char *where, struct ids *out, struct err *e)
{
    const cJSON *list = get(d->json, "ids"), *v;

    if (!cJSON_IsArray(list))
        return err_set(e, ERR_INPUT, "%s: 'ids' is not a list", where);
    cJSON_ArrayForEach(v, list)
    {
        double x = cJSON_IsNumber(v) ? v->valuedouble : -1;

        if (!(x >= 0 && x < INT32_MAX) || x != (double)(int32_t)x)
            return err_set(e, ERR_INPUT, "%s: id %zu is not a whole number, 0 or more", where, out->n);
        if (vocab && x >= vocab)
            return err_set(e, ERR_INPUT, "%s: id %d is outside the model's vocabulary of %d", where, (int)x,
                           vocab);
        if (out->n == out->cap && mem_grow(&out->id, &out->cap, out->n + 1, sizeof *out->id, e))
            return -1;
        out->id[out->n++] = (int32_t)x;
    }
    return 0;
}

int document_text(const struct document *d, const char *where, struct str *out, struct err *e)
{
    const char *name = d->kind == DOC_TEXT ? "text" : "prompt";
    const char *text = cJSON_GetStringValue(get(d->json, name));

    if (!text)
        return err_set(e, ERR_INPUT, "%s: '%s' is not a string", where, name);
    str_adds(out, text);
    return str_ok(out, e);
}

/* ---- conversations ---- */

static int add_message(cJSON *messages, const char *role, const char *text, struct err *e)
{
    cJSON *m = cJSON_CreateObject();

    if (!m || !cJSON_AddStringToObject(m, "role", role) || !cJSON_AddStringToObject(m, "content", text) ||
        !cJSON_AddItemToArray(messages, m)) {
        cJSON_Delete(m);
        return err_set(e, ERR_NOMEM, "out of memory: a conversation");
    }
    return 0;
}

/* A turn is who says what; whatever else it says would be left out. */
static int check_turn(const cJSON *turn, int n, const char *where, struct err *e)
{
    static const char *const more[] = {"tool_calls", "function_call", "content", "text", NULL};
    const cJSON *v;

    cJSON_ArrayForEach(v, turn)
    {
        if (v->string && says_something(v) && (among(v->string, lost) || among(v->string, more)))
            return err_set(
                e, ERR_INPUT,
                "%s: turn %d: '%.60s' is not understood and would be left out: make messages of the "
                "conversation, or remove it",
                where, n, v->string);
    }
    return 0;
}

static int from_sharegpt(cJSON *messages, const cJSON *list, const char *where, struct err *e)
{
    static const char *const role[][2] = {
        {"human", "user"},    {"user", "user"}, {"gpt", "assistant"},   {"assistant", "assistant"},
        {"system", "system"}, {"tool", "tool"}, {"observation", "tool"}};
    const cJSON *turn;
    int n = 0;
    size_t i;

    if (!cJSON_IsArray(list))
        return err_set(e, ERR_INPUT, "%s: 'conversations' is not a list", where);
    cJSON_ArrayForEach(turn, list)
    {
        const char *from = cJSON_GetStringValue(get(turn, "from"));
        const char *value = cJSON_GetStringValue(get(turn, "value"));

        n++;
        for (i = 0; from && i < sizeof role / sizeof *role && strcmp(role[i][0], from) != 0; i++)
            ;
        if (!from || i == sizeof role / sizeof *role)
            return err_set(e, ERR_INPUT, "%s: turn %d: 'from' is '%.40s', not human, gpt, system or tool",
                           where, n, from ? from : "(missing)");
        if (!value)
            return err_set(e, ERR_INPUT, "%s: turn %d: 'value' is not a string", where, n);
        if (check_turn(turn, n, where, e) || add_message(messages, role[i][1], value, e))
            return -1;
    }
    return 0;
}

static int from_alpaca(cJSON *messages, const cJSON *json, const char *where, struct err *e)
{
    const char *instruction = cJSON_GetStringValue(get(json, "instruction"));
    const char *output = cJSON_GetStringValue(get(json, "output"));
    const char *input = cJSON_GetStringValue(get(json, "input"));
    struct str asked = {0};
    int r;

    if (!instruction || !output || (get(json, "input") && !input))
        return err_set(e, ERR_INPUT, "%s: '%s' is not a string", where,
                       !instruction ? "instruction"
                       : !output    ? "output"
                                    : "input");
    str_adds(&asked, instruction);
    if (input && *input)
        str_addf(&asked, "\n\n%s", input);
    r = str_ok(&asked, e) || add_message(messages, "user", asked.p, e) ||
                add_message(messages, "assistant", output, e)
            ? -1
            : 0;
    str_free(&asked);
    return r;
}

/* ---- what stands beside them ---- */

static int find_more(const struct document *d, int found, struct chat_more *more, struct err *e)
{
    const cJSON *v;

    more->v = mem_new((size_t)cJSON_GetArraySize(d->json), sizeof *more->v, e);
    if (!more->v)
        return -1;
    cJSON_ArrayForEach(v, d->json)
    {
        if (!cJSON_IsNull(v) && !is_used(found, v->string))
            more->v[more->n++] = (struct jinja_variable){v->string, v, false};
    }
    return 0;
}

/* What the template did not look at is left out, which is only right for what is no content. */
static int check_more(const struct document *d, int found, const struct chat_more *more, const char *where,
                      struct err *e)
{
    int i;

    for (i = 0; i < more->n; i++) {
        const struct jinja_variable *v = &more->v[i];

        if (!v->read && would_be_lost(found, v->value, d->category_field))
            return refuse_lost(v->value, found, where, e);
    }
    return 0;
}

static int chat_and_more(const struct document *d, const cJSON *messages, const struct chat *c,
                         const char *where, struct str *out, struct chat_result *result, struct err *e)
{
    struct chat_more more = {0};
    int found = 0, bad;

    while (content[found].kind != d->kind)
        found++;
    bad = find_more(d, found, &more, e) ||
          chat_render(c, messages, get(d->json, "tools"), &more, where, out, result, e) ||
          (!result->raised.kind && check_more(d, found, &more, where, e));
    free(more.v);
    return bad ? -1 : 0;
}

int document_chat(struct document *d, const char *line, size_t n, const struct chat *c, const char *where,
                  struct str *out, struct chat_result *result, struct err *e)
{
    cJSON *made;
    int r;

    if (json_keep_numbers(d->json, line, n, where, e))
        return -1;
    if (d->kind == DOC_MESSAGES)
        return chat_and_more(d, get(d->json, "messages"), c, where, out, result, e);
    made = cJSON_CreateArray();
    if (!made)
        return err_set(e, ERR_NOMEM, "out of memory: a conversation");
    r = d->kind == DOC_CONVERSATIONS ? from_sharegpt(made, get(d->json, "conversations"), where, e)
                                     : from_alpaca(made, d->json, where, e);
    if (!r)
        r = chat_and_more(d, made, c, where, out, result, e);
    cJSON_Delete(made);
    return r;
}
