/* chat_parts.c -- members of a message, refusals with their place, thinking taken apart. */
#include "text/chat_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

int chat_refuse_role(const struct chat_job *j, const cJSON *message)
{
    return chat_refuse(j, message, "the template '%s' does not print this role here", j->name);
}

int chat_add_texts(const struct chat_job *j, const cJSON *message, struct str *out)
{
    const cJSON *c = chat_get(message, "content"), *part;

    if (!c)
        return 0;
    if (!cJSON_IsArray(c)) {
        const char *text = chat_content(j, message);

        str_adds(out, text ? text : "");
        return text ? 0 : -1;
    }
    cJSON_ArrayForEach(part, c)
    {
        const char *type = chat_text(part, "type"), *text = chat_text(part, "text");

        if (!type || strcmp(type, "text") != 0 || !text)
            return chat_refuse(j, message, "a part of its content is not text");
        str_adds(out, text);
    }
    return 0;
}

const char *chat_behind_last(const char *s, const char *what)
{
    const char *found;

    while ((found = strstr(s, what)))
        s = found + strlen(what);
    return s;
}

void chat_split_thinking(const char **content, struct chat_part *thinking)
{
    const char *first = strstr(*content, "</think>"), *p, *open = NULL;

    thinking->s = *content;
    thinking->n = first ? (size_t)(first - *content) : 0;
    if (!first)
        return;
    while (thinking->n && thinking->s[thinking->n - 1] == '\n')
        thinking->n--;
    for (p = strstr(*content, "<think>"); p && p + 7 <= thinking->s + thinking->n;
         p = strstr(p + 7, "<think>"))
        open = p + 7;
    if (open) {
        thinking->n -= (size_t)(open - thinking->s);
        thinking->s = open;
    }
    while (thinking->n && *thinking->s == '\n') {
        thinking->s++;
        thinking->n--;
    }
    *content = chat_behind_last(*content, "</think>");
    *content += strspn(*content, "\n");
}
