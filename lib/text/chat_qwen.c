/*
 * chat_qwen.c -- the Qwen3 family, and the two plain templates of the models in examples/.
 */
#include <string.h>

#include "text/chat_parts.h"

int chat_tiny_chatml(struct chat_job *j)
{
    const cJSON *m;

    cJSON_ArrayForEach(m, j->messages)
    {
        const char *content = chat_content(j, m);

        if (!content)
            return -1;
        str_addf(j->out, "<|im_start|>%s\n%s<|im_end|>\n", chat_text(m, "role"), content);
    }
    str_adds(j->out, j->generate ? "<|im_start|>assistant\n" : "");
    return 0;
}

int chat_tiny_harmony(struct chat_job *j)
{
    const cJSON *m;

    cJSON_ArrayForEach(m, j->messages)
    {
        const char *content = chat_content(j, m);

        if (!content)
            return -1;
        str_addf(j->out, "<|start|>%s<|message|>%s<|end|>", chat_text(m, "role"), content);
    }
    str_adds(j->out, j->generate ? "<|start|>assistant" : "");
    return 0;
}

/* ---- Qwen3: hybrid, Instruct-2507 and Thinking-2507 differ in how an assistant's turn begins ---- */

enum { THINKS = 1, NULL_IS_EMPTY = 2 };

static int qwen_header(struct chat_job *j)
{
    const cJSON *first = j->messages->child, *tool;
    const char *system = NULL;

    if (chat_is(first, "system") && !(system = chat_content(j, first)))
        return -1;
    if (!j->tools) {
        if (system)
            str_addf(j->out, "<|im_start|>system\n%s<|im_end|>\n", system);
        return 0;
    }
    str_adds(j->out, "<|im_start|>system\n");
    if (system)
        str_addf(j->out, "%s\n\n", system);
    str_adds(j->out, "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
                     "You are provided with function signatures within <tools></tools> XML tags:\n<tools>");
    cJSON_ArrayForEach(tool, j->tools)
    {
        str_addc(j->out, '\n');
        py_tojson(j->out, tool);
    }
    str_adds(j->out, "\n</tools>\n\nFor each function call, return a json object with function name and "
                     "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
                     "<function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n");
    return 0;
}

/* The content as the template sees it; NULL: refused. */
static const char *qwen_content(struct chat_job *j, const cJSON *m, unsigned flags)
{
    const cJSON *c = chat_get(m, "content");

    /* what a message with tool calls need not have */
    if ((flags & NULL_IS_EMPTY) && (!c || cJSON_IsNull(c)) && py_true(chat_get(m, "tool_calls")))
        return "";
    return chat_content(j, m);
}

static bool wrapped(const char *s, const char *open, const char *close)
{
    size_t n = strlen(s), on = strlen(open), cn = strlen(close);

    return n >= on && n >= cn && strncmp(s, open, on) == 0 && strcmp(s + n - cn, close) == 0;
}

/* The last message in which a user asks, rather than gives a tool's response; without one the last. */
static const cJSON *last_query(const cJSON *messages)
{
    const cJSON *m, *found = messages->child->prev;

    cJSON_ArrayForEach(m, messages)
    {
        const char *content = chat_text(m, "content");

        if (chat_is(m, "user") && content && !wrapped(content, "<tool_response>", "</tool_response>"))
            found = m;
    }
    return found;
}

static struct chat_part strip_newlines(struct chat_part p)
{
    while (p.n && *p.s == '\n') {
        p.s++;
        p.n--;
    }
    while (p.n && p.s[p.n - 1] == '\n')
        p.n--;
    return p;
}

static int qwen_calls(struct chat_job *j, const cJSON *m, bool after_content)
{
    const cJSON *calls = chat_get(m, "tool_calls"), *call;

    if (!py_true(calls))
        return 0;
    if (!cJSON_IsArray(calls))
        return chat_refuse(j, m, "tool_calls is not a list");
    cJSON_ArrayForEach(call, calls)
    {
        const cJSON *f = chat_callee(call), *arguments = chat_get(f, "arguments");
        const char *name = chat_text(f, "name");

        if (!name || !arguments)
            return chat_refuse(j, m, "a tool call without a name and arguments");
        if (after_content || call != calls->child)
            str_addc(j->out, '\n');
        str_addf(j->out, "<tool_call>\n{\"name\": \"%s\", \"arguments\": ", name);
        if (cJSON_IsString(arguments))
            str_adds(j->out, arguments->valuestring);
        else
            py_tojson(j->out, arguments);
        str_adds(j->out, "}\n</tool_call>");
    }
    return 0;
}

static int qwen_assistant(struct chat_job *j, const cJSON *m, unsigned flags, bool after_query)
{
    const char *content = qwen_content(j, m, flags);
    const cJSON *reasoning = chat_get(m, "reasoning_content");
    struct chat_part thinking = {"", 0};

    if (!content)
        return -1;
    if (flags & THINKS) {
        if (cJSON_IsString(reasoning))
            thinking = (struct chat_part){reasoning->valuestring, strlen(reasoning->valuestring)};
        else if (reasoning && !cJSON_IsNull(reasoning))
            return chat_refuse(j, m, "reasoning_content is not a string");
        else
            chat_split_thinking(&content, &thinking);
    }
    str_adds(j->out, "<|im_start|>assistant\n");
    if ((flags & THINKS) && after_query && (!m->next || thinking.n)) {
        thinking = strip_newlines(thinking);
        str_adds(j->out, "<think>\n");
        str_add(j->out, thinking.s, thinking.n);
        str_addf(j->out, "\n</think>\n\n%s", content + strspn(content, "\n"));
    } else {
        str_adds(j->out, content);
    }
    if (qwen_calls(j, m, *content != 0))
        return -1;
    str_adds(j->out, "<|im_end|>\n");
    return 0;
}

static int qwen_message(struct chat_job *j, const cJSON *m, unsigned flags, bool after_query)
{
    bool first = m == j->messages->child;
    const char *content;

    if (chat_is(m, "assistant"))
        return qwen_assistant(j, m, flags, after_query);
    content = qwen_content(j, m, flags);
    if (!content)
        return -1;
    if (chat_is(m, "tool")) {
        if (first || !chat_is(m->prev, "tool"))
            str_adds(j->out, "<|im_start|>user");
        str_addf(j->out, "\n<tool_response>\n%s\n</tool_response>", content);
        if (!m->next || !chat_is(m->next, "tool"))
            str_adds(j->out, "<|im_end|>\n");
        return 0;
    }
    if (chat_is(m, "system") && first)
        return 0; /* in the header */
    if (!chat_is(m, "user") && !chat_is(m, "system"))
        return chat_refuse(j, m, "the template '%s' does not print this role", j->name);
    str_addf(j->out, "<|im_start|>%s\n%s<|im_end|>\n", chat_text(m, "role"), content);
    return 0;
}

static int qwen(struct chat_job *j, unsigned flags, const char *prompt)
{
    const cJSON *query = last_query(j->messages), *m;
    bool after_query = false;

    if (qwen_header(j))
        return -1;
    cJSON_ArrayForEach(m, j->messages)
    {
        if (qwen_message(j, m, flags, after_query))
            return -1;
        after_query = after_query || m == query;
    }
    str_adds(j->out, j->generate ? prompt : "");
    return 0;
}

int chat_qwen3(struct chat_job *j)
{
    return qwen(j, THINKS, "<|im_start|>assistant\n");
}

int chat_qwen3_null(struct chat_job *j)
{
    return qwen(j, THINKS | NULL_IS_EMPTY, "<|im_start|>assistant\n");
}

int chat_qwen3_instruct(struct chat_job *j)
{
    return qwen(j, NULL_IS_EMPTY, "<|im_start|>assistant\n");
}

int chat_qwen3_thinking(struct chat_job *j)
{
    return qwen(j, THINKS | NULL_IS_EMPTY, "<|im_start|>assistant\n<think>\n");
}
