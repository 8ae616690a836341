#include "text/chat.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/chat_parts.h"

enum { MAX_TEMPLATE = 16 << 20 };

/* What a renderer prints of a message, besides role and content; everything else of the kind is refused. */
enum { PRINTS_TOOLS = 1, PRINTS_REASONING = 2, PRINTS_THINKING = 4 };

struct chat_template {
    const char *name, *about;
    int (*render)(struct chat_job *j);
    unsigned prints;
    bool dated;
    const char *digest; /* SHA-256 of the template text; several rows may name one renderer */
};

static const struct chat_template known[] = {
    {"qwen3", "Qwen3 with hybrid thinking", chat_qwen3, PRINTS_TOOLS | PRINTS_REASONING, false,
     "87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5"},
    {"qwen3-null", "Qwen3 with hybrid thinking, later revision: content may be null", chat_qwen3_null,
     PRINTS_TOOLS | PRINTS_REASONING, false,
     "a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8"},
    {"qwen3-instruct-2507", "Qwen3 Instruct 2507", chat_qwen3_instruct, PRINTS_TOOLS, false,
     "64f85b198065d0fba2a81f37e10ed68161ce2c19a754c7100e67e0ca2ee9c326"},
    {"qwen3-thinking-2507", "Qwen3 Thinking 2507", chat_qwen3_thinking, PRINTS_TOOLS | PRINTS_REASONING,
     false, "3802169b2a02b81e6adb7ab4f64f91ff02db753c8c3a64a01c35192d3a61d8d7"},
    {"qwen3-coder", "Qwen3 Coder", chat_qwen3_coder, PRINTS_TOOLS, false,
     "5a38bfa05833266240066aedc497decc9b00cc0d3e3b8cceea98cf530196ab06"},
    {"harmony", "gpt-oss; prints the date: needs --date", chat_harmony, PRINTS_TOOLS | PRINTS_THINKING, true,
     "a4c9919cbbd4acdd51ccffe22da049264b1b73e59055fa58811a99efbd7c8146"},
    {"tiny-chatml", "examples/tiny-qwen3", chat_tiny_chatml, 0, false,
     "a98fa0f8cbc47ef7013cdcf6cd8156319e14a390cabd7971df67eb31ff3849c2"},
    {"tiny-harmony", "examples/tiny-gptoss", chat_tiny_harmony, 0, false,
     "d38008cb9a0390aa63b05073fd30bf03434ee51e0ed8580b7d0f18b496dde58a"},
};
enum { KNOWN = sizeof known / sizeof *known };

/* ---- which template ---- */

/* Jinja drops one newline at the end of a template, so a text with and without it is the same one. text has
 * room for one byte behind its n. */
static const struct chat_template *by_digest(char *text, size_t n, char hex[SHA256_HEX])
{
    char other[SHA256_HEX];
    int i;

    sha256_hex(text, n, hex);
    text[n] = '\n';
    sha256_hex(text, n && text[n - 1] == '\n' ? n - 1 : n + 1, other);
    text[n] = 0;
    for (i = 0; i < KNOWN; i++)
        if (strcmp(known[i].digest, hex) == 0 || strcmp(known[i].digest, other) == 0)
            return &known[i];
    return NULL;
}

/* The text of dir's template, 1; 0: there is none; -1: error. */
static int template_text(const char *dir, char **text, size_t *n, struct err *e)
{
    char *jinja = path_join(dir, "chat_template.jinja", e), *config = NULL;
    cJSON *json = NULL;
    const cJSON *t, *item;
    int r = -1;

    if (!jinja || !(config = path_join(dir, "tokenizer_config.json", e)))
        goto done;
    if (path_exists(jinja)) {
        r = file_read(jinja, MAX_TEMPLATE, text, n, e) ? -1 : 1;
        goto done;
    }
    r = 0;
    if (!path_exists(config))
        goto done;
    r = -1;
    if (json_read(config, MAX_TEMPLATE, &json, e))
        goto done;
    t = chat_get(json, "chat_template");
    cJSON_ArrayForEach(item, t) /* several by name: the one called default */
    {
        if (cJSON_IsArray(t) && chat_text(item, "name") && strcmp(chat_text(item, "name"), "default") == 0)
            t = chat_get(item, "template");
    }
    r = 0;
    if (cJSON_IsString(t)) {
        *n = strlen(t->valuestring);
        *text = mem_strndup(t->valuestring, *n, e);
        r = *text ? 1 : -1;
    }
done:
    cJSON_Delete(json);
    free(jinja);
    free(config);
    return r;
}

static void add_names(struct str *s)
{
    int i;

    for (i = 0; i < KNOWN; i++)
        str_addf(s, "%s%s", i ? ", " : "", known[i].name);
}

static int find_name(const struct chat_template **out, const char *name, struct err *e)
{
    struct str names = {0};
    int i;

    for (i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0) {
            *out = &known[i];
            return 0;
        }
    add_names(&names);
    err_set(e, ERR_USAGE, "--chat: '%s' is none of %s", name, names.p ? names.p : "");
    str_free(&names);
    return -1;
}

int chat_find(const struct chat_template **out, struct str *why, const char *dir,
              const struct chat_options *o, struct err *e)
{
    char hex[SHA256_HEX], *text = NULL;
    size_t n;
    int r;

    *out = NULL;
    if (o->name)
        return find_name(out, o->name, e);
    r = template_text(dir, &text, &n, e);
    if (r < 0)
        return -1;
    if (r)
        *out = by_digest(text, n, hex);
    free(text);
    if (*out)
        return 0;
    str_clear(why);
    if (r)
        str_addf(why, "'%s' has a chat template that is not built in (SHA-256 %.16s...)", dir, hex);
    else
        str_addf(why, "'%s' has no chat template", dir);
    str_adds(why, ": name one with --chat (");
    add_names(why);
    str_adds(why, "), or give the rendered conversations as \"text\"");
    return str_ok(why, e);
}

const char *chat_name(const struct chat_template *c)
{
    return c->name;
}

bool chat_list(int i, const char **name, const char **about)
{
    if (i < 0 || i >= KNOWN)
        return false;
    *name = known[i].name;
    *about = known[i].about;
    return true;
}

/* ---- what renderers share ---- */

const cJSON *chat_get(const cJSON *object, const char *name)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

const char *chat_text(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(chat_get(object, name));
}

bool chat_is(const cJSON *message, const char *role)
{
    const char *r = chat_text(message, "role");

    return r && strcmp(r, role) == 0;
}

static int position(const cJSON *array, const cJSON *item)
{
    const cJSON *c;
    int i = 1;

    for (c = array ? array->child : NULL; c && c != item; c = c->next)
        i++;
    return i;
}

int chat_refuse(const struct chat_job *j, const cJSON *message, const char *fmt, ...)
{
    const char *role = chat_text(message, "role");
    char text[500];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(j->e, ERR_INPUT, "%s: message %d (%.40s): %s", j->where, position(j->messages, message),
                   role ? role : "no role", text);
}

int chat_refuse_tool(const struct chat_job *j, const cJSON *tool, const char *fmt, ...)
{
    char text[500];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(j->e, ERR_INPUT, "%s: tool %d: %s", j->where, position(j->tools, tool), text);
}

const char *chat_content(const struct chat_job *j, const cJSON *message)
{
    const cJSON *c = chat_get(message, "content");

    if (cJSON_IsString(c))
        return c->valuestring;
    chat_refuse(j, message, "%s",
                !c                ? "has no content"
                : cJSON_IsNull(c) ? "its content is null, which this template cannot print"
                                  : "its content is not a string");
    return NULL;
}

const cJSON *chat_callee(const cJSON *call)
{
    const cJSON *f = chat_get(call, "function");

    return py_true(f) ? f : call;
}

/* ---- rendering ---- */

/* Members that carry something to read, and whether the renderer prints them. */
static int check_members(const struct chat_job *j, const cJSON *message, unsigned prints)
{
    static const struct {
        const char *name;
        unsigned bit;
    } carry[] = {{"tool_calls", PRINTS_TOOLS},
                 {"reasoning_content", PRINTS_REASONING},
                 {"thinking", PRINTS_THINKING},
                 {"reasoning", 0},
                 {"function_call", 0}};
    size_t i;

    for (i = 0; i < sizeof carry / sizeof *carry; i++)
        if (py_true(chat_get(message, carry[i].name)) &&
            (!(carry[i].bit & prints) || !chat_is(message, "assistant")))
            return chat_refuse(j, message, "the template '%s' does not print '%s' here", j->name,
                               carry[i].name);
    return 0;
}

static int check(const struct chat_job *j, const cJSON *tools, unsigned prints)
{
    const cJSON *m, *item;

    if (!cJSON_IsArray(j->messages) || !j->messages->child)
        return err_set(j->e, ERR_INPUT, "%s: the conversation is not a list of messages", j->where);
    cJSON_ArrayForEach(m, j->messages)
    {
        if (!cJSON_IsObject(m) || !chat_text(m, "role"))
            return chat_refuse(j, m, "is not an object with a role");
        if (check_members(j, m, prints))
            return -1;
    }
    if (tools && !cJSON_IsNull(tools) && !cJSON_IsArray(tools))
        return err_set(j->e, ERR_INPUT, "%s: 'tools' is not a list", j->where);
    if (j->tools && !(prints & PRINTS_TOOLS))
        return err_set(j->e, ERR_INPUT, "%s: the template '%s' does not print tools", j->where, j->name);
    cJSON_ArrayForEach(item, j->tools)
    {
        if (!cJSON_IsObject(item))
            return chat_refuse_tool(j, item, "is not an object");
    }
    return 0;
}

int chat_render(const struct chat_template *c, const struct chat_options *o, const cJSON *messages,
                const cJSON *tools, const char *where, struct str *out, struct err *e)
{
    struct chat_job j = {.name = c->name,
                         .messages = messages,
                         .tools = cJSON_IsArray(tools) && tools->child ? tools : NULL,
                         .date = o->date,
                         .where = where,
                         .out = out,
                         .e = e};

    if (check(&j, tools, c->prints))
        return -1;
    if (c->dated && !o->date)
        return err_set(e, ERR_USAGE,
                       "%s: the chat template '%s' prints the date of the day: fix it with --date YYYY-MM-DD",
                       where, c->name);
    j.generate = !chat_is(messages->child->prev, "assistant"); /* cJSON: the first one's prev is the last */
    return c->render(&j) ? -1 : str_ok(out, e);
}
