/*
 * chat_harmony.c -- gpt-oss (harmony): a fixed system message with the date, the system text as a developer
 * message, tools as TypeScript declarations, channels.
 */
#include <string.h>

#include "text/chat_parts.h"

/* ---- tools ---- */

/* A refusal of something in a tool's schema that the template cannot print either. */
static int bad_schema(struct chat_job *j, const cJSON *tool, const char *what)
{
    return chat_refuse_tool(j, tool, "its schema cannot be printed by this template: %s", what);
}

static void add_joined(struct str *out, const cJSON *list, const char *between)
{
    const cJSON *c;

    cJSON_ArrayForEach(c, list)
    {
        py_str(out, c);
        str_adds(out, c->next ? between : "");
    }
}

static bool is_type(const cJSON *spec, const char *type)
{
    const char *t = chat_text(spec, "type");

    return t && strcmp(t, type) == 0;
}

/* Whether name is in the list of required members, which may be absent. -1: it is no list. */
static int required(const cJSON *of, const char *name)
{
    const cJSON *list = chat_get(of, "required"), *c;

    if (!py_true(list))
        return 0;
    if (!cJSON_IsArray(list))
        return -1;
    cJSON_ArrayForEach(c, list)
    {
        if (cJSON_IsString(c) && strcmp(c->valuestring, name) == 0)
            return 1;
    }
    return 0;
}

static size_t characters(const struct str *s)
{
    size_t i, n = 0;

    for (i = 0; i < s->n; i++)
        n += ((unsigned char)s->p[i] & 0xc0) != 0x80;
    return n;
}

static int add_type(struct chat_job *j, const cJSON *tool, const cJSON *spec, struct str *out);

static int add_array(struct chat_job *j, const cJSON *tool, const cJSON *spec, struct str *out)
{
    const cJSON *items = chat_get(spec, "items");
    struct str inner = {0};

    if (!py_true(items)) {
        str_adds(out, "any[]");
    } else if (!cJSON_IsObject(items)) {
        return bad_schema(j, tool, "items is not an object");
    } else if (is_type(items, "integer")) {
        str_adds(out, "number[]");
    } else if (is_type(items, "string") || is_type(items, "number") || is_type(items, "boolean")) {
        str_addf(out, "%s[]", chat_text(items, "type"));
    } else {
        if (add_type(j, tool, items, &inner) || str_ok(&inner, j->e)) {
            str_free(&inner);
            return -1;
        }
        if (characters(&inner) > 50 || (inner.p && strcmp(inner.p, "object | object") == 0))
            str_adds(out, "any[]");
        else
            str_addf(out, "%s[]", inner.p ? inner.p : "");
        str_free(&inner);
    }
    str_adds(out, py_true(chat_get(spec, "nullable")) ? " | null" : "");
    return 0;
}

/* The template would print "any" for several variants with an object among them, but sets the variable for
 * that inside a loop, where Jinja forgets it. The blanks and the newline are the template's, too. */
static int add_one_of(struct chat_job *j, const cJSON *tool, const cJSON *variants, struct str *out)
{
    const cJSON *v;

    if (!cJSON_IsArray(variants))
        return bad_schema(j, tool, "oneOf is not a list");
    cJSON_ArrayForEach(v, variants)
    {
        const cJSON *description = chat_get(v, "description"), *value = chat_get(v, "default");

        if (add_type(j, tool, v, out))
            return -1;
        if (py_true(description) && !cJSON_IsString(description))
            return bad_schema(j, tool, "a description is not a string");
        if (py_true(description))
            str_addf(out, "// %s", description->valuestring);
        if (value) {
            str_addf(out, "%20s// default: ", "");
            py_tojson(out, value);
        }
        str_adds(out, v->next ? " | \n" : "");
    }
    return 0;
}

static int add_object(struct chat_job *j, const cJSON *tool, const cJSON *spec, struct str *out)
{
    const cJSON *properties = chat_get(spec, "properties"), *p;

    if (!py_true(properties)) {
        str_adds(out, "object");
        return 0;
    }
    if (!cJSON_IsObject(properties))
        return bad_schema(j, tool, "properties is not an object");
    str_adds(out, "{\n");
    cJSON_ArrayForEach(p, properties)
    {
        int needed = required(spec, p->string);

        if (needed < 0)
            return bad_schema(j, tool, "required is not a list");
        str_addf(out, "%s%s: \n%16s", p->string, needed ? "" : "?", "");
        if (add_type(j, tool, p, out))
            return -1;
        str_adds(out, p->next ? ", " : "");
    }
    str_addc(out, '}');
    return 0;
}

static int add_string(struct chat_job *j, const cJSON *tool, const cJSON *spec, struct str *out)
{
    const cJSON *values = chat_get(spec, "enum");

    if (!py_true(values)) {
        str_addf(out, "string%s", py_true(chat_get(spec, "nullable")) ? " | null" : "");
        return 0;
    }
    if (!cJSON_IsArray(values))
        return bad_schema(j, tool, "enum is not a list");
    str_addc(out, '"');
    add_joined(out, values, "\" | \"");
    str_addc(out, '"');
    return 0;
}

/* The TypeScript type of a JSON schema. */
static int add_type(struct chat_job *j, const cJSON *tool, const cJSON *spec, struct str *out)
{
    const cJSON *type = chat_get(spec, "type");

    if (!cJSON_IsObject(spec))
        return bad_schema(j, tool, "a part that should be an object is not");
    if (is_type(spec, "array"))
        return add_array(j, tool, spec, out);
    if (cJSON_IsArray(type) && type->child) {
        add_joined(out, type, " | ");
        return 0;
    }
    if (py_true(chat_get(spec, "oneOf")))
        return add_one_of(j, tool, chat_get(spec, "oneOf"), out);
    if (is_type(spec, "string"))
        return add_string(j, tool, spec, out);
    if (is_type(spec, "object"))
        return add_object(j, tool, spec, out);
    str_adds(out, is_type(spec, "number") || is_type(spec, "integer") ? "number"
                  : is_type(spec, "boolean")                          ? "boolean"
                                                                      : "any");
    return 0;
}

static int add_default(struct chat_job *j, const cJSON *tool, const cJSON *spec)
{
    const cJSON *value = chat_get(spec, "default");
    bool plain = py_true(chat_get(spec, "enum")) || py_true(chat_get(spec, "oneOf"));

    if (!value)
        return 0;
    if (plain && !cJSON_IsString(value))
        return bad_schema(j, tool, "a default beside enum or oneOf is not a string");
    str_adds(j->out, py_true(chat_get(spec, "enum")) || !plain ? ", // default: " : "// default: ");
    if (plain)
        str_adds(j->out, value->valuestring);
    else
        py_tojson(j->out, value);
    return 0;
}

static int add_parameter(struct chat_job *j, const cJSON *tool, const cJSON *parameters, const cJSON *p)
{
    const cJSON *description = chat_get(p, "description");
    int needed = required(parameters, p->string);

    if (!cJSON_IsObject(p))
        return bad_schema(j, tool, "a parameter is not an object");
    if (needed < 0)
        return bad_schema(j, tool, "required is not a list");
    if (py_true(description) && !cJSON_IsString(description))
        return bad_schema(j, tool, "a description is not a string");
    if (py_true(description))
        str_addf(j->out, "// %s\n", description->valuestring);
    str_addf(j->out, "%s%s: ", p->string, needed ? "" : "?");
    if (add_type(j, tool, p, j->out) || add_default(j, tool, p))
        return -1;
    str_adds(j->out, ",\n");
    return 0;
}

static int add_tool(struct chat_job *j, const cJSON *tool)
{
    const cJSON *f = chat_get(tool, "function"), *parameters = chat_get(f, "parameters"), *p;
    const cJSON *properties = chat_get(parameters, "properties");

    if (!chat_text(f, "name") || !chat_text(f, "description"))
        return chat_refuse_tool(j, tool, "has no function with a name and a description");
    str_addf(j->out, "// %s\ntype %s = ", chat_text(f, "description"), chat_text(f, "name"));
    if (!py_true(properties)) {
        str_adds(j->out, "() => any;\n\n");
        return 0;
    }
    if (!cJSON_IsObject(properties))
        return bad_schema(j, tool, "properties is not an object");
    str_adds(j->out, "(_: {\n");
    cJSON_ArrayForEach(p, properties)
    {
        if (add_parameter(j, tool, parameters, p))
            return -1;
    }
    str_adds(j->out, "}) => any;\n\n");
    return 0;
}

/* ---- messages ---- */

static int developer(struct chat_job *j, const char *text)
{
    const cJSON *tool;

    if (!*text && !j->tools)
        return 0;
    str_adds(j->out, "<|start|>developer<|message|>");
    if (*text)
        str_addf(j->out, "# Instructions\n\n%s\n\n", text);
    if (j->tools) {
        str_adds(j->out, "# Tools\n\n## functions\n\nnamespace functions {\n\n");
        cJSON_ArrayForEach(tool, j->tools)
        {
            if (add_tool(j, tool))
                return -1;
        }
        str_adds(j->out, "} // namespace functions");
    }
    str_adds(j->out, "<|end|>");
    return 0;
}

static bool has_channel(const char *s)
{
    return s && (strstr(s, "<|channel|>analysis<|message|>") || strstr(s, "<|channel|>final<|message|>"));
}

/* A later answer without tool calls makes the thoughts before a call obsolete. */
static bool answered_later(const cJSON *m)
{
    for (m = m->next; m; m = m->next)
        if (chat_is(m, "assistant") && !chat_get(m, "tool_calls"))
            return true;
    return false;
}

/* The first tool call, the only one the template prints; *callee gets its name. */
static int add_call(struct chat_job *j, const cJSON *m, const char *content, const char *thinking,
                    const char **callee)
{
    const cJSON *calls = chat_get(m, "tool_calls"), *f, *type, *arguments;
    const char *analysis = content && *content ? content : thinking;

    if (!cJSON_IsArray(calls) || !calls->child || calls->child->next)
        return chat_refuse(j, m, "this template prints exactly one tool call a message");
    f = chat_callee(calls->child);
    type = chat_get(f, "content_type");
    arguments = chat_get(f, "arguments");
    *callee = chat_text(f, "name");
    if (!*callee || !arguments || (type && !cJSON_IsString(type)))
        return chat_refuse(j, m, "a tool call without a name and arguments");
    if (content && *content && thinking && *thinking)
        return chat_refuse(j, m, "content and thinking beside a tool call: give the analysis in one of them");
    if (analysis && *analysis && !answered_later(m))
        str_addf(j->out, "<|start|>assistant<|channel|>analysis<|message|>%s<|end|>", analysis);
    str_addf(j->out, "<|start|>assistant to=functions.%s<|channel|>commentary %s<|message|>", *callee,
             type ? type->valuestring : "json");
    py_tojson(j->out, arguments);
    str_adds(j->out, "<|call|>");
    return 0;
}

static int assistant(struct chat_job *j, const cJSON *m, const char **callee)
{
    const char *content = NULL, *thinking = chat_text(m, "thinking");

    if ((chat_get(m, "content") || !chat_get(m, "tool_calls")) && !(content = chat_content(j, m)))
        return -1;
    if (chat_get(m, "thinking") && !thinking)
        return chat_refuse(j, m, "thinking is not a string");
    if (has_channel(content) || has_channel(thinking))
        return chat_refuse(j, m,
                           "<|channel|> tags inside: give analysis as 'thinking', the answer as 'content'");
    if (chat_get(m, "tool_calls"))
        return add_call(j, m, content, thinking, callee);
    if (m->next) {
        str_addf(j->out, "<|start|>assistant<|channel|>final<|message|>%s<|end|>", content);
        *callee = NULL;
        return 0;
    }
    if (thinking)
        str_addf(j->out, "<|start|>assistant<|channel|>analysis<|message|>%s<|end|>", thinking);
    str_addf(j->out, "<|start|>assistant<|channel|>final<|message|>%s<|return|>", content);
    return 0;
}

static int message(struct chat_job *j, const cJSON *m, const char **callee)
{
    const char *content;

    if (chat_is(m, "assistant"))
        return assistant(j, m, callee);
    if (chat_is(m, "tool")) {
        if (!*callee)
            return chat_refuse(j, m, "there was no tool call before it");
        if (!chat_get(m, "content"))
            return chat_refuse(j, m, "has no content");
        str_addf(j->out, "<|start|>functions.%s to=assistant<|channel|>commentary<|message|>", *callee);
        py_tojson(j->out, chat_get(m, "content"));
        str_adds(j->out, "<|end|>");
        return 0;
    }
    if (!chat_is(m, "user"))
        return chat_refuse(j, m, "the template '%s' does not print this role here", j->name);
    content = chat_content(j, m);
    if (!content)
        return -1;
    str_addf(j->out, "<|start|>user<|message|>%s<|end|>", content);
    return 0;
}

int chat_harmony(struct chat_job *j)
{
    const cJSON *m = j->messages->child;
    const char *instructions = "", *callee = NULL;

    str_addf(
        j->out,
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        "Knowledge cutoff: 2024-06\nCurrent date: %s\n\nReasoning: medium\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message.%s<|end|>",
        j->date, j->tools ? "\nCalls to these tools must go to the commentary channel: 'functions'." : "");
    if (chat_is(m, "developer") || chat_is(m, "system")) {
        instructions = chat_content(j, m);
        m = m->next;
    }
    if (!instructions || developer(j, instructions))
        return -1;
    for (; m; m = m->next)
        if (message(j, m, &callee))
            return -1;
    str_adds(j->out, j->generate ? "<|start|>assistant" : "");
    return 0;
}
