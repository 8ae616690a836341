/* chat_lost.c -- what a conversation holds and its rendering does not. */
#include "text/chat_lost.h"

#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "text/chat.h"

struct search {
    const char *text, *end;
    const char *from; /* behind what was found last: what follows is mostly there */
    struct str quoted;
    unsigned lost;
};

static const char *find(const char *s, const char *end, const char *what, size_t n)
{
    while ((size_t)(end - s) >= n && (s = memchr(s, *what, (size_t)(end - s) - n + 1))) {
        if (memcmp(s, what, n) == 0)
            return s;
        s++;
    }
    return NULL;
}

static bool is_there(struct search *s, const char *what, size_t n)
{
    const char *p = find(s->from, s->end, what, n);

    if (!p)
        p = find(s->text, s->end, what, n);
    if (p)
        s->from = p + n;
    return p != NULL;
}

static bool space(char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

static void look_for(struct search *s, const char *what, unsigned bit)
{
    size_t n = what ? strlen(what) : 0;

    while (n && space(what[n - 1]))
        n--;
    while (n && space(*what))
        what++, n--;
    if (!n || (s->lost & bit) || is_there(s, what, n))
        return;
    str_clear(&s->quoted);
    json_quote(&s->quoted, what, n);
    if (s->quoted.n < 3 || !is_there(s, s->quoted.p + 1, s->quoted.n - 2))
        s->lost |= bit;
}

static const char *text_of(const cJSON *o, const char *name)
{
    return cJSON_GetStringValue(json_member(o, name));
}

/* Every string in it; numbers may be spelled otherwise. */
static void look_for_strings(struct search *s, const cJSON *v, unsigned bit)
{
    const cJSON *c;

    if (cJSON_IsString(v))
        look_for(s, v->valuestring, bit);
    if (!cJSON_IsArray(v) && !cJSON_IsObject(v))
        return;
    cJSON_ArrayForEach(c, v)
    {
        look_for_strings(s, c, bit);
    }
}

/* A part of a content: text, something else that is written with strings, or what no text can hold, such as
 * an image. */
static void look_for_part(struct search *s, const cJSON *part, unsigned bit)
{
    const char *type = text_of(part, "type"), *text = text_of(part, "text");
    bool said = !type || strcmp(type, "text") == 0;
    const cJSON *v;

    if (text || !cJSON_IsObject(part)) {
        look_for(s, text ? text : cJSON_GetStringValue(part), bit);
        return;
    }
    cJSON_ArrayForEach(v, part)
    {
        if (strcmp(v->string, "type") == 0)
            continue;
        look_for_strings(s, v, bit);
        said = said || cJSON_IsString(v);
    }
    if (!said)
        s->lost |= bit;
}

/* A string, or parts. */
static void look_for_content(struct search *s, const cJSON *content, unsigned bit)
{
    const cJSON *part;

    look_for(s, cJSON_GetStringValue(content), bit);
    cJSON_ArrayForEach(part, content)
    {
        look_for_part(s, part, bit);
    }
}

/* What OpenAI wraps into "function". */
static const cJSON *function_of(const cJSON *o)
{
    const cJSON *f = json_member(o, "function");

    return cJSON_IsObject(f) ? f : o;
}

static void look_for_message(struct search *s, const cJSON *m)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const cJSON *call;
    size_t i;

    look_for_content(s, json_member(m, "content"), LOST_CONTENT);
    for (i = 0; i < sizeof names / sizeof *names; i++)
        look_for_content(s, json_member(m, names[i]), LOST_REASONING);
    cJSON_ArrayForEach(call, json_member(m, "tool_calls"))
    {
        look_for(s, text_of(function_of(call), "name"), LOST_CALLS);
        look_for_strings(s, json_member(function_of(call), "arguments"), LOST_CALLS);
    }
    look_for_strings(s, json_member(m, "function_call"), LOST_CALLS);
}

int chat_lost(const cJSON *messages, const cJSON *tools, const char *text, size_t n, unsigned *lost,
              struct err *e)
{
    struct search s = {.text = text, .end = text + n, .from = text};
    const cJSON *m, *tool;
    int bad;

    cJSON_ArrayForEach(tool, tools)
    {
        look_for(&s, text_of(function_of(tool), "name"), LOST_TOOLS);
        look_for(&s, text_of(function_of(tool), "description"), LOST_TOOLS);
    }
    s.from = text;
    cJSON_ArrayForEach(m, messages)
    {
        look_for_message(&s, m);
    }
    *lost = s.lost;
    bad = str_ok(&s.quoted, e);
    str_free(&s.quoted);
    return bad;
}
