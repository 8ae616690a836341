/*
 * chat_glm.c -- GLM-4.5 and 4.6.
 */
#include <string.h>

#include "text/chat_parts.h"

static void glm_add_part(struct str *out, const char *before, struct chat_part p, const char *after)
{
    py_strip(&p.s, &p.n);
    str_adds(out, before);
    str_add(out, p.s, p.n);
    str_adds(out, after);
}

static void glm_header(struct chat_job *j)
{
    const cJSON *tool;

    str_adds(j->out, "[gMASK]<sop>");
    if (!j->tools)
        return;
    str_adds(j->out,
             "<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
             "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n");
    cJSON_ArrayForEach(tool, j->tools)
    {
        py_tojson(j->out, tool);
        str_addc(j->out, '\n');
    }
    str_adds(j->out, "</tools>\n\nFor each function call, output the function name and arguments within the "
                     "following XML format:\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n"
                     "<arg_value>{arg-value-1}</arg_value>\n<arg_key>{arg-key-2}</arg_key>\n"
                     "<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>");
}

static int calls(struct chat_job *j, const cJSON *m)
{
    const cJSON *list = chat_get(m, "tool_calls"), *call, *a;

    if (!py_true(list))
        return 0;
    if (!cJSON_IsArray(list))
        return chat_refuse(j, m, "tool_calls is not a list");
    cJSON_ArrayForEach(call, list)
    {
        const cJSON *f = chat_callee(call), *arguments = chat_get(f, "arguments");

        if (!chat_text(f, "name"))
            return chat_refuse(j, m, "a tool call without a name");
        if (!cJSON_IsObject(arguments))
            return chat_refuse(j, m, "the arguments of a tool call are not an object");
        str_addf(j->out, "\n<tool_call>%s\n", chat_text(f, "name"));
        cJSON_ArrayForEach(a, arguments)
        {
            str_addf(j->out, "<arg_key>%s</arg_key>\n<arg_value>", a->string);
            if (cJSON_IsString(a))
                str_adds(j->out, a->valuestring);
            else
                py_tojson(j->out, a);
            str_adds(j->out, "</arg_value>\n");
        }
        str_adds(j->out, "</tool_call>");
    }
    return 0;
}

/* Thoughts print behind the last question only. */
static int glm_assistant(struct chat_job *j, const cJSON *m, const char *content, bool after_question)
{
    const cJSON *reasoning = chat_get(m, "reasoning_content");
    struct chat_part thinking = {"", 0}, answer;

    if (py_true(reasoning) && !cJSON_IsString(reasoning))
        return chat_refuse(j, m, "reasoning_content is not a string");
    if (cJSON_IsString(reasoning))
        thinking = (struct chat_part){reasoning->valuestring, strlen(reasoning->valuestring)};
    else
        chat_split_thinking(&content, &thinking);
    if (!after_question)
        thinking.n = 0;
    glm_add_part(j->out, "<|assistant|>\n<think>", thinking, "</think>");
    answer = (struct chat_part){content, strlen(content)};
    py_strip(&answer.s, &answer.n);
    if (answer.n)
        glm_add_part(j->out, "\n", answer, "");
    return calls(j, m);
}

/* A list is one of results: each is its "output", or itself. */
static int tool(struct chat_job *j, const cJSON *m)
{
    const cJSON *content = chat_get(m, "content"), *result;

    if (!cJSON_IsString(content) && (!cJSON_IsArray(content) || !content->child))
        return chat_refuse(j, m, "its content is neither a string nor a list of results");
    if (!cJSON_IsString(content) || m == j->messages->child || !chat_is(m->prev, "tool"))
        str_adds(j->out, "<|observation|>");
    for (result = cJSON_IsString(content) ? content : content->child; result; result = result->next) {
        const cJSON *output = chat_get(result, "output");

        str_adds(j->out, "\n<tool_response>\n");
        py_str(j->out, output ? output : result);
        str_adds(j->out, "\n</tool_response>");
        if (result == content)
            break; /* its siblings are members of the message */
    }
    return 0;
}

static int glm_message(struct chat_job *j, const cJSON *m, bool after_question)
{
    struct str text = {0};
    int bad;

    if (chat_is(m, "tool"))
        return tool(j, m);
    bad = chat_add_texts(j, m, &text) || str_ok(&text, j->e);
    if (bad)
        ;
    else if (chat_is(m, "assistant"))
        bad = glm_assistant(j, m, text.p ? text.p : "", after_question);
    else if (chat_is(m, "user") || chat_is(m, "system"))
        str_addf(j->out, "<|%s|>\n%s", chat_text(m, "role"), text.p ? text.p : "");
    else
        bad = chat_refuse_role(j, m);
    str_free(&text);
    return bad;
}

int chat_glm(struct chat_job *j)
{
    const cJSON *m, *question = NULL;
    bool after = true;

    cJSON_ArrayForEach(m, j->messages)
    {
        if (chat_is(m, "user"))
            question = m;
    }
    glm_header(j);
    after = !question;
    cJSON_ArrayForEach(m, j->messages)
    {
        if (glm_message(j, m, after))
            return -1;
        after = after || m == question;
    }
    str_adds(j->out, j->generate ? "<|assistant|>" : "");
    return 0;
}
