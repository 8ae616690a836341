/*
 * chat_deepseek.c -- DeepSeek-V2.5, V3 and R1. Tool calls print as these templates do it, which forget to
 * close the first one and take every later one for the last of its message.
 */

#include "text/chat_parts.h"

#define EOS "<｜end▁of▁sentence｜>"

enum { ALL_SYSTEMS = 1, DROPS_THINKING = 2 };

/* How far the conversation is. */
struct deepseek {
    bool called;         /* a tool call has been printed */
    bool tool_last;      /* the outputs of tools are open */
    bool output_printed; /* some output has been printed */
};

/* All system messages come first. */
static int systems(struct chat_job *j, unsigned flags)
{
    const cJSON *m;
    bool some = false;

    cJSON_ArrayForEach(m, j->messages)
    {
        const char *content;

        if (!chat_is(m, "system"))
            continue;
        if (!(content = chat_content(j, m)))
            return -1;
        if (some && !(flags & ALL_SYSTEMS))
            return chat_refuse(j, m, "the template '%s' prints one system message only", j->name);
        str_addf(j->out, "%s%s", some ? "\n\n" : "", content);
        some = true;
    }
    return 0;
}

static int calls(struct chat_job *j, const cJSON *m, struct deepseek *d)
{
    const cJSON *list = chat_get(m, "tool_calls"), *call;

    if (!cJSON_IsArray(list) || !list->child)
        return chat_refuse(j, m, "its content is null, and there are no tool calls");
    d->tool_last = false;
    cJSON_ArrayForEach(call, list)
    {
        const cJSON *f = chat_get(call, "function");
        const char *type = chat_text(call, "type"), *name = chat_text(f, "name");
        const char *arguments = chat_text(f, "arguments");

        if (!type || !name || !arguments)
            return chat_refuse(j, m, "a tool call without type, name and arguments as strings");
        str_adds(j->out, d->called ? "\n" : "<｜Assistant｜><｜tool▁calls▁begin｜>");
        str_addf(j->out, "<｜tool▁call▁begin｜>%s<｜tool▁sep｜>%s\n```json\n%s\n```<｜tool▁call▁end｜>", type,
                 name, arguments);
        str_adds(j->out, d->called ? "<｜tool▁calls▁end｜>" EOS : "");
        d->called = true;
    }
    return 0;
}

static int deepseek_assistant(struct chat_job *j, const cJSON *m, struct deepseek *d, unsigned flags)
{
    const char *content;

    if (cJSON_IsNull(chat_get(m, "content")))
        return calls(j, m, d);
    if (!(content = chat_content(j, m)))
        return -1;
    if (py_true(chat_get(m, "tool_calls")))
        return chat_refuse(j, m, "the template '%s' prints tool calls beside a content of null only",
                           j->name);
    if ((flags & DROPS_THINKING) && !d->tool_last)
        content = chat_behind_last(content, "</think>");
    str_addf(j->out, "%s%s" EOS, d->tool_last ? "<｜tool▁outputs▁end｜>" : "<｜Assistant｜>", content);
    d->tool_last = false;
    return 0;
}

static int deepseek_message(struct chat_job *j, const cJSON *m, struct deepseek *d, unsigned flags)
{
    const char *content;

    if (chat_is(m, "system"))
        return 0; /* printed already */
    if (chat_is(m, "assistant"))
        return deepseek_assistant(j, m, d, flags);
    if (!(content = chat_content(j, m)))
        return -1;
    if (chat_is(m, "user"))
        str_addf(j->out, "<｜User｜>%s", content);
    else if (chat_is(m, "tool"))
        str_addf(j->out, "%s<｜tool▁output▁begin｜>%s<｜tool▁output▁end｜>",
                 d->output_printed ? "\n" : "<｜tool▁outputs▁begin｜>", content);
    else
        return chat_refuse_role(j, m);
    d->tool_last = chat_is(m, "tool");
    d->output_printed = d->output_printed || d->tool_last;
    return 0;
}

static int deepseek(struct chat_job *j, unsigned flags, const char *prompt)
{
    struct deepseek d = {0};
    const cJSON *m;

    str_adds(j->out, "<｜begin▁of▁sentence｜>");
    if (systems(j, flags))
        return -1;
    cJSON_ArrayForEach(m, j->messages)
    {
        if (deepseek_message(j, m, &d, flags))
            return -1;
    }
    if (d.tool_last)
        str_adds(j->out, "<｜tool▁outputs▁end｜>");
    else if (j->generate)
        str_adds(j->out, prompt);
    return 0;
}

int chat_deepseek_v25(struct chat_job *j)
{
    return deepseek(j, 0, "<｜Assistant｜>");
}

int chat_deepseek_v3(struct chat_job *j)
{
    return deepseek(j, ALL_SYSTEMS, "<｜Assistant｜>");
}

int chat_deepseek_r1(struct chat_job *j)
{
    return deepseek(j, DROPS_THINKING, "<｜Assistant｜>");
}

int chat_deepseek_r1_think(struct chat_job *j)
{
    return deepseek(j, DROPS_THINKING, "<｜Assistant｜><think>\n");
}
