/*
 * chat_llama4.c -- Llama 4: tools are announced in the first user's message.
 */
#include <string.h>

#include "text/chat_parts.h"

static void llama4_header(struct chat_job *j, const char *role)
{
    str_addf(j->out, "<|header_start|>%s<|header_end|>\n\n", role);
}

static void llama4_add_stripped(struct str *out, const char *s)
{
    size_t n = strlen(s);

    py_strip(&s, &n);
    str_add(out, s, n);
}

static int system_message(struct chat_job *j, const cJSON *m)
{
    const cJSON *list = chat_get(m, "content");
    struct str text = {0};
    int bad;

    if (cJSON_IsArray(list) && (!list->child || list->child->next))
        return chat_refuse(j, m, "its content is not one part, of which this template prints the first");
    if (!list)
        return chat_refuse(j, m, "has no content");
    bad = chat_add_texts(j, m, &text);
    llama4_header(j, "system");
    str_adds(j->out, j->tools ? "Environment: ipython\n" : "");
    llama4_add_stripped(j->out, text.p ? text.p : "");
    str_adds(j->out, "<|eot|>");
    j->out->failed = j->out->failed || text.failed;
    str_free(&text);
    return bad;
}

static int with_tools(struct chat_job *j, const cJSON *m)
{
    const char *content;
    const cJSON *tool;

    if (!m)
        return chat_refuse(j, j->messages->child, "there is no user's message to put the tools into");
    if (!chat_is(m, "user"))
        return chat_refuse(j, m, "the template '%s' puts the tools here and would print it as the user's",
                           j->name);
    if (!(content = chat_content(j, m)))
        return -1;
    llama4_header(j, "user");
    str_adds(
        j->out,
        "Given the following functions, please respond with a JSON for a function call with its proper "
        "arguments that best answers the given prompt.\n\nRespond in the format {\"name\": function name, "
        "\"parameters\": dictionary of argument name and its value}.Do not use variables.\n\n");
    cJSON_ArrayForEach(tool, j->tools)
    {
        py_tojson_indented(j->out, tool);
        str_adds(j->out, "\n\n");
    }
    llama4_add_stripped(j->out, content);
    str_adds(j->out, "<|eot|>");
    return 0;
}

static int calling(struct chat_job *j, const cJSON *m, const cJSON *calls)
{
    const cJSON *call;

    if (!cJSON_IsArray(calls) || !calls->child)
        return chat_refuse(j, m,
                           "an empty tool_calls, with which this template drops the message: leave it out");
    llama4_header(j, "assistant");
    str_adds(j->out, "<|python_start|>");
    if (chat_add_texts(j, m, j->out))
        return -1;
    str_adds(j->out, "<|python_end|>");
    cJSON_ArrayForEach(call, calls)
    {
        const cJSON *f = chat_get(call, "function"), *arguments = chat_get(f, "arguments");

        if (!chat_text(f, "name") || !arguments)
            return chat_refuse(j, m, "a tool call without a function's name and arguments");
        str_addf(j->out, "{\"name\": \"%s\", \"parameters\": ", chat_text(f, "name"));
        py_tojson(j->out, arguments);
        str_addc(j->out, '}');
    }
    str_adds(j->out, "<|eot|>");
    return 0;
}

static int llama4_message(struct chat_job *j, const cJSON *m)
{
    const cJSON *calls = chat_get(m, "tool_calls"), *content = chat_get(m, "content");
    bool tool = chat_is(m, "tool") || chat_is(m, "ipython");

    if (calls)
        return calling(j, m, calls);
    if (tool && !content)
        return chat_refuse(j, m, "has no content");
    llama4_header(j, tool ? "ipython" : chat_text(m, "role"));
    if (!tool) {
        if (chat_add_texts(j, m, j->out))
            return -1;
    } else if (cJSON_IsString(content) || cJSON_IsObject(content) || cJSON_IsArray(content)) {
        py_tojson(j->out, content);
    } else {
        py_str(j->out, content);
    }
    str_adds(j->out, "<|eot|>");
    return 0;
}

int chat_llama4(struct chat_job *j)
{
    const cJSON *m = j->messages->child;

    str_adds(j->out, "<|begin_of_text|>");
    if (chat_is(m, "system")) {
        if (system_message(j, m))
            return -1;
        m = m->next;
    }
    if (j->tools) {
        if (with_tools(j, m))
            return -1;
        m = m->next;
    }
    for (; m; m = m->next)
        if (llama4_message(j, m))
            return -1;
    if (j->generate)
        llama4_header(j, "assistant");
    return 0;
}
