/*
 * chat_coder.c -- Qwen3 Coder: tools and tool calls as XML-like text.
 */
#include <string.h>

#include "text/chat_parts.h"

static void coder_add_stripped(struct str *out, const cJSON *v)
{
    struct str text = {0};
    const char *s;

    py_str(&text, v);
    out->failed = out->failed || text.failed;
    if (!text.failed && text.n) {
        size_t n = text.n;

        s = text.p;
        py_strip(&s, &n);
        str_add(out, s, n);
    }
    str_free(&text);
}

static bool container(const cJSON *v)
{
    return cJSON_IsObject(v) || cJSON_IsArray(v);
}

static void add_value(struct str *out, const cJSON *v)
{
    if (container(v))
        py_tojson(out, v);
    else
        py_str(out, v);
}

/* <key>value</key> for the members that are not in handled (NULL-terminated). */
static void extra_members(struct str *out, const cJSON *object, const char *const *handled)
{
    const cJSON *c;
    int i;

    if (!cJSON_IsObject(object))
        return;
    for (c = object->child; c; c = c->next) {
        for (i = 0; handled[i] && strcmp(handled[i], c->string) != 0; i++)
            ;
        if (handled[i])
            continue;
        str_addf(out, "\n<%s>", c->string);
        add_value(out, c);
        str_addf(out, "</%s>", c->string);
    }
}

static int one_tool(struct chat_job *j, const cJSON *tool)
{
    static const char *const of_parameter[] = {"name", "type", "description", NULL};
    static const char *const of_parameters[] = {"type", "properties", NULL};
    static const char *const of_tool[] = {"type", "name", "description", "parameters", NULL};
    const cJSON *t = chat_get(tool, "function") ? chat_get(tool, "function") : tool, *p;
    const cJSON *parameters = chat_get(t, "parameters"), *properties = chat_get(parameters, "properties");

    if (!chat_text(t, "name"))
        return chat_refuse_tool(j, tool, "has no name");
    if ((parameters && !cJSON_IsObject(parameters)) || (properties && !cJSON_IsObject(properties)))
        return chat_refuse_tool(j, tool, "its parameters are not objects");
    str_addf(j->out, "\n<function>\n<name>%s</name>", chat_text(t, "name"));
    if (chat_get(t, "description")) {
        str_adds(j->out, "\n<description>");
        coder_add_stripped(j->out, chat_get(t, "description"));
        str_adds(j->out, "</description>");
    }
    str_adds(j->out, "\n<parameters>");
    cJSON_ArrayForEach(p, properties)
    {
        if (!cJSON_IsObject(p))
            return chat_refuse_tool(j, tool, "the parameter '%s' is not an object", p->string);
        str_addf(j->out, "\n<parameter>\n<name>%s</name>", p->string);
        if (chat_get(p, "type")) {
            str_adds(j->out, "\n<type>");
            py_str(j->out, chat_get(p, "type"));
            str_adds(j->out, "</type>");
        }
        if (chat_get(p, "description")) {
            str_adds(j->out, "\n<description>");
            coder_add_stripped(j->out, chat_get(p, "description"));
            str_adds(j->out, "</description>");
        }
        extra_members(j->out, p, of_parameter);
        str_adds(j->out, "\n</parameter>");
    }
    extra_members(j->out, parameters, of_parameters);
    str_adds(j->out, "\n</parameters>");
    extra_members(j->out, t, of_tool);
    str_adds(j->out, "\n</function>");
    return 0;
}

static int coder_header(struct chat_job *j, const char *system)
{
    const cJSON *tool;

    if (!system && !j->tools)
        return 0;
    str_addf(j->out, "<|im_start|>system\n%s",
             system
                 ? system
                 : "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks.");
    if (j->tools) {
        str_adds(j->out, "\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>");
        cJSON_ArrayForEach(tool, j->tools)
        {
            if (one_tool(j, tool))
                return -1;
        }
        str_adds(
            j->out,
            "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO "
            "suffix:\n\n<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\n"
            "value_1\n</parameter>\n<parameter=example_parameter_2>\nThis is the value for the second "
            "parameter\nthat can span\nmultiple lines\n</parameter>\n</function>\n</tool_call>\n\n"
            "<IMPORTANT>\nReminder:\n- Function calls MUST follow the specified format: an inner "
            "<function=...></function> block must be nested within <tool_call></tool_call> XML tags\n"
            "- Required parameters MUST be specified\n- You may provide optional reasoning for your "
            "function call in natural language BEFORE the function call, but NOT after\n- If there is no "
            "function call available, answer the question like normal with your current knowledge and do "
            "not tell the user about function calls\n</IMPORTANT>");
    }
    str_adds(j->out, "<|im_end|>\n");
    return 0;
}

static int one_call(struct chat_job *j, const cJSON *m, const cJSON *call)
{
    const cJSON *f = chat_get(call, "function") ? chat_get(call, "function") : call, *a;
    const cJSON *arguments = chat_get(f, "arguments");

    if (!chat_text(f, "name"))
        return chat_refuse(j, m, "a tool call without a name");
    if (arguments && !cJSON_IsObject(arguments))
        return chat_refuse(j, m, "the arguments of a tool call are not an object");
    str_addf(j->out, "\n<tool_call>\n<function=%s>\n", chat_text(f, "name"));
    cJSON_ArrayForEach(a, arguments)
    {
        str_addf(j->out, "<parameter=%s>\n", a->string);
        add_value(j->out, a);
        str_adds(j->out, "\n</parameter>\n");
    }
    str_adds(j->out, "</function>\n</tool_call>");
    return 0;
}

static int calling(struct chat_job *j, const cJSON *m, const cJSON *calls)
{
    const cJSON *content = chat_get(m, "content"), *call;
    const char *s = cJSON_GetStringValue(content);
    size_t n = s ? strlen(s) : 0;

    if (!cJSON_IsArray(calls))
        return chat_refuse(j, m, "tool_calls is not a list");
    if (content && !s && !cJSON_IsNull(content))
        return chat_refuse(j, m, "its content is not a string");
    str_adds(j->out, "<|im_start|>assistant");
    if (s)
        py_strip(&s, &n);
    if (n) {
        str_addc(j->out, '\n');
        str_add(j->out, s, n);
        str_addc(j->out, '\n');
    }
    cJSON_ArrayForEach(call, calls)
    {
        if (one_call(j, m, call))
            return -1;
    }
    str_adds(j->out, "<|im_end|>\n");
    return 0;
}

static int coder_message(struct chat_job *j, const cJSON *m, bool first)
{
    const char *content;

    if (chat_is(m, "assistant") && py_true(chat_get(m, "tool_calls")))
        return calling(j, m, chat_get(m, "tool_calls"));
    content = chat_content(j, m);
    if (!content)
        return -1;
    if (!chat_is(m, "tool")) {
        str_addf(j->out, "<|im_start|>%s\n%s<|im_end|>\n", chat_text(m, "role"), content);
        return 0;
    }
    if (!first && !chat_is(m->prev, "tool"))
        str_adds(j->out, "<|im_start|>user\n");
    str_addf(j->out, "<tool_response>\n%s\n</tool_response>\n", content);
    if (!m->next || !chat_is(m->next, "tool"))
        str_adds(j->out, "<|im_end|>\n");
    return 0;
}

int chat_qwen3_coder(struct chat_job *j)
{
    const cJSON *first = j->messages->child, *m;
    const char *system = NULL;

    if (chat_is(first, "system")) {
        system = chat_content(j, first);
        if (!system)
            return -1;
        first = first->next;
    }
    if (coder_header(j, system))
        return -1;
    for (m = first; m; m = m->next)
        if (coder_message(j, m, m == first))
            return -1;
    str_adds(j->out, j->generate ? "<|im_start|>assistant\n" : "");
    return 0;
}
