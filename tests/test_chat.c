/*
 * test_chat.c -- chat templates: renderings by the real templates (tests/data/chat/NAME.jsonl: messages,
 * tools, and the text that the template gives), what must be refused, how a template is recognised, and
 * Python's way to print values.
 */
#include "tmp.h"

#include "base/json.h"
#include "base/json_out.h"
#include "text/chat.h"
#include "text/pyjson.h"

static const struct chat_template *named(const char *name)
{
    struct chat_options o = {name, NULL};
    const struct chat_template *t;
    struct str why = {0};
    struct err e = {0};

    CHECK_MSG(chat_find(&t, &why, "/", &o, &e) == 0, "%s", e.msg);
    str_free(&why);
    return t;
}

/* The rendering of a line {"messages":..., "tools":...}, which the caller frees; NULL: refused, e says why.
 */
static char *render(const char *name, const char *date, const char *line, size_t n, cJSON **row,
                    struct err *e)
{
    struct chat_options o = {name, date};
    struct str out = {0};
    int bad;

    err_clear(e);
    bad = json_parse(line, n, "line", row, e) || py_keep_numbers(*row, line, n, "line", e) ||
          chat_render(named(name), &o, cJSON_GetObjectItem(*row, "messages"),
                      cJSON_GetObjectItem(*row, "tools"), "line", &out, e);
    if (!bad)
        return out.p;
    str_free(&out);
    return NULL;
}

static void test_renderings(const char *name)
{
    char path[200], *text, *p, *end;
    struct err e = {0};
    size_t size;
    int rows = 0;

    snprintf(path, sizeof path, "tests/data/chat/%s.jsonl", name);
    if (file_read(path, 1 << 24, &text, &size, &e)) {
        CHECK_MSG(false, "%s", e.msg);
        return;
    }
    for (p = text; p < text + size; p = end + 1) {
        cJSON *row = NULL;
        char *got;

        end = memchr(p, '\n', (size_t)(text + size - p));
        end = end ? end : text + size;
        got = render(name, "2025-08-05", p, (size_t)(end - p), &row, &e);
        rows++;
        CHECK_MSG(got, "%s row %d: %s", path, rows, e.msg);
        if (got)
            CHECK_STR(got, cJSON_GetStringValue(cJSON_GetObjectItem(row, "text")));
        free(got);
        cJSON_Delete(row);
    }
    CHECK_MSG(rows >= 12, "%s has %d rows", path, rows);
    free(text);
}

#define USER   "{\"role\":\"user\",\"content\":\"q\"}"
#define SYSTEM "{\"role\":\"system\",\"content\":\"s\"}"
#define RESULT "{\"role\":\"tool\",\"content\":\"r\"}"
#define CALL   "\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{}}}]"
#define TOOL(parameters)                                                                                     \
    ",\"tools\":[{\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{"                       \
    "\"properties\":" parameters "}}}]"

static const struct {
    const char *name, *line, *why;
} refused[] = {
    /* not a conversation */
    {"qwen3", "{\"messages\":[]}", "not a list of messages"},
    {"qwen3", "{\"messages\":{}}", "not a list of messages"},
    {"qwen3", "{}", "not a list of messages"},
    {"qwen3", "{\"messages\":[1]}", "message 1 (no role)"},
    {"qwen3", "{\"messages\":[" USER ",{\"content\":\"x\"}]}", "message 2 (no role)"},
    {"qwen3", "{\"messages\":[" USER "],\"tools\":{}}", "'tools' is not a list"},
    {"qwen3", "{\"messages\":[" USER "],\"tools\":[1]}", "tool 1: is not an object"},
    /* content */
    {"tiny-chatml", "{\"messages\":[{\"role\":\"user\"}]}", "message 1 (user): has no content"},
    {"qwen3", "{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "content is null"},
    {"qwen3-null", "{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "content is null"},
    {"qwen3-null", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}",
     "not a string"},
    {"harmony", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null," CALL "}]}",
     "content is null"},
    {"qwen3-coder", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":[]," CALL "}]}",
     "not a string"},
    /* what the template would pass over */
    {"qwen3", "{\"messages\":[{\"role\":\"developer\",\"content\":\"x\"}]}", "does not print this role"},
    {"harmony", "{\"messages\":[" USER ",{\"role\":\"system\",\"content\":\"x\"}]}",
     "does not print this role"},
    {"tiny-chatml", "{\"messages\":[" USER "]" TOOL("{}") "}", "does not print tools"},
    {"tiny-harmony", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"\"," CALL "}]}",
     "'tool_calls'"},
    {"qwen3", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"," CALL "}]}", "'tool_calls' here"},
    {"qwen3-coder", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"r\"}]}",
     "'reasoning_content' here"},
    {"qwen3-instruct-2507",
     "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"r\"}]}",
     "'reasoning_content' here"},
    {"qwen3", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"thinking\":\"r\"}]}",
     "'thinking' here"},
    {"harmony", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"r\"}]}",
     "'reasoning_content' here"},
    {"harmony",
     "{\"messages\":[" USER
     ",{\"role\":\"assistant\",\"tool_calls\":[{\"name\":\"f\",\"arguments\":{}},{\"name\":\"g\","
     "\"arguments\":{}}]}]}",
     "exactly one tool call"},
    {"qwen3-coder", "{\"messages\":[" USER "]" TOOL("{\"x\":true}") "}", "parameter 'x'"},
    /* what a newer family's template would pass over, or says otherwise than it is meant */
    {"mixtral", "{\"messages\":[" USER "," USER "]}",
     "message 2 (user): the template 'mixtral' wants assistant"},
    {"mixtral", "{\"messages\":[" SYSTEM "]}", "with a user's message only"},
    {"mixtral", "{\"messages\":[" USER "," SYSTEM "]}", "wants assistant"},
    {"mixtral", "{\"messages\":[" USER "]" TOOL("{}") "}", "does not print tools"},
    {"mixtral-old", "{\"messages\":[" SYSTEM "," USER "]}", "message 1 (system)"},
    {"deepseek-v2", "{\"messages\":[" USER "," RESULT "]}", "does not print this role"},
    {"deepseek-v3", "{\"messages\":[" USER "]" TOOL("{}") "}", "does not print tools"},
    {"deepseek-v3", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"x\"," CALL "}]}",
     "beside a content of null only"},
    {"deepseek-v3", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null," CALL "}]}",
     "type, name and arguments as strings"},
    {"deepseek-v3", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null}]}", "no tool calls"},
    {"deepseek-v2.5", "{\"messages\":[" SYSTEM "," SYSTEM "," USER "]}", "message 2 (system)"},
    {"deepseek-r1",
     "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"r\"}]}",
     "'reasoning_content' here"},
    {"ernie-4.5", "{\"messages\":[" USER "," RESULT "]}", "does not print this role"},
    {"llama4", "{\"messages\":[" SYSTEM "]" TOOL("{}") "}", "no user's message"},
    {"llama4", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]" TOOL("{}") "}",
     "puts the tools here"},
    {"llama4", "{\"messages\":[" USER "],\"tools\":[]}", "empty list"},
    {"llama4", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[]}]}",
     "empty tool_calls"},
    {"llama4", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", "is not text"},
    {"glm-4.5", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", "is not text"},
    {"glm-4.5", "{\"messages\":[{\"role\":\"developer\",\"content\":\"x\"}]}", "does not print this role"},
    {"glm-4.5", "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null," CALL "}]}",
     "content is null"},
    {"glm-4.6",
     "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"name\":\"f\","
     "\"arguments\":\"{}\"}]}]}",
     "not an object"},
    {"glm-4.5", "{\"messages\":[" USER ",{\"role\":\"tool\",\"content\":[]}]}", "list of results"},
    /* what makes the template fail */
    {"harmony", "{\"messages\":[" USER ",{\"role\":\"tool\",\"content\":\"x\"}]}", "no tool call before"},
    {"harmony", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"<|channel|>final<|message|>\"}]}",
     "tags inside"},
    {"harmony",
     "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"c\",\"thinking\":\"t\"," CALL "}]}",
     "in one of them"},
    {"harmony", "{\"messages\":[" USER "],\"tools\":[{\"function\":{\"name\":\"f\"}}]}",
     "a name and a description"},
    {"harmony", "{\"messages\":[" USER "]" TOOL("{\"x\":{\"type\":\"string\",\"enum\":\"abc\"}}") "}",
     "enum is not a list"},
    {"harmony", "{\"messages\":[" USER "]" TOOL("{\"x\":{\"enum\":[1],\"default\":1}}") "}",
     "default beside"},
    {"qwen3",
     "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"name\":\"f\"}]}]}",
     "without a name and arguments"},
    {"qwen3-coder",
     "{\"messages\":[" USER
     ",{\"role\":\"assistant\",\"tool_calls\":[{\"name\":\"f\",\"arguments\":\"{}\"}]}]}",
     "not an object"},
    /* what Python would read otherwise */
    {"qwen3", "{\"messages\":[" USER "]" TOOL("{\"x\":1,\"x\":2}") "}", "occurs twice"},
    {"qwen3", "{\"messages\":[" USER "]" TOOL("{\"x\":1e999}") "}", "too large"},
};

static void test_refused(void)
{
    struct err e = {0};
    size_t i;

    for (i = 0; i < sizeof refused / sizeof *refused; i++) {
        cJSON *row = NULL;
        char *got = render(refused[i].name, "2025-08-05", refused[i].line, strlen(refused[i].line), &row, &e);

        CHECK_MSG(!got, "case %zu was rendered: %s", i, got ? got : "");
        CHECK_MSG(strstr(e.msg, refused[i].why), "case %zu: '%s' does not say '%s'", i, e.msg,
                  refused[i].why);
        CHECK_MSG(strncmp(e.msg, "line", 4) == 0, "case %zu: '%s' does not name the document", i, e.msg);
        free(got);
        cJSON_Delete(row);
    }
}

static void test_date(void)
{
    static const char line[] = "{\"messages\":[" USER "]}";
    struct err e = {0};
    cJSON *row = NULL;

    CHECK(!render("harmony", NULL, line, sizeof line - 1, &row, &e));
    CHECK_MSG(e.kind == ERR_USAGE && strstr(e.msg, "--date"), "%s", e.msg);
    cJSON_Delete(row);
}

static const char *found(const char *dir, struct str *why)
{
    struct chat_options o = {NULL, NULL};
    const struct chat_template *t = NULL;
    struct err e = {0};

    CHECK_MSG(chat_find(&t, why, dir, &o, &e) == 0, "%s", e.msg);
    return t ? chat_name(t) : "-";
}

static void test_find(void)
{
    char path[300], *text;
    const char *name, *about;
    struct chat_options o = {"nonesuch", NULL};
    const struct chat_template *t;
    struct str why = {0}, longer = {0};
    struct err e = {0};
    size_t n;
    int i;

    CHECK_STR(found("examples/tiny-qwen3", &why), "tiny-chatml");
    CHECK_STR(found("examples/tiny-gptoss", &why), "tiny-harmony");
    for (i = 0; chat_list(i, &name, &about); i++)
        CHECK(*name && *about && named(name));
    CHECK(i == 19 && !chat_list(-1, &name, &about));
    CHECK(chat_find(&t, &why, "/", &o, &e) == -1 && e.kind == ERR_USAGE);
    for (i = 0; chat_list(i, &name, &about); i++)
        CHECK_MSG(strstr(e.msg, name), "'%s' does not say '%s'", e.msg, name);
    CHECK_STR(found(tmp_dir, &why), "-");
    CHECK(strstr(why.p, "no chat template") && strstr(why.p, "--chat"));
    put_tmp("chat_template.jinja", "{{ messages }}");
    CHECK_STR(found(tmp_dir, &why), "-");
    CHECK(strstr(why.p, "not built in") && strstr(why.p, "--chat"));
    /* Jinja drops one newline at the end, so it may be there or not */
    err_clear(&e);
    CHECK_MSG(file_read("examples/tiny-qwen3/chat_template.jinja", 1 << 16, &text, &n, &e) == 0, "%s", e.msg);
    str_adds(&longer, text);
    str_addc(&longer, '\n');
    put_tmp("chat_template.jinja", longer.p);
    CHECK_STR(found(tmp_dir, &why), "tiny-chatml");
    unlink(in_tmp("chat_template.jinja"));
    /* several templates by name */
    str_clear(&longer);
    str_adds(&longer,
             "{\"chat_template\":[{\"name\":\"x\",\"template\":\"y\"},{\"name\":\"default\",\"template\":");
    json_quote(&longer, text, n);
    str_adds(&longer, "}]}");
    put_tmp("tokenizer_config.json", longer.p);
    CHECK_STR(found(tmp_dir, &why), "tiny-chatml");
    put_tmp("tokenizer_config.json", "{\"chat_template\":null}");
    CHECK_STR(found(tmp_dir, &why), "-");
    unlink(in_tmp("tokenizer_config.json"));
    snprintf(path, sizeof path, "%s/tokenizers/qwen3", shared_dir());
    if (path_is_dir(path))
        CHECK_STR(found(path, &why), "qwen3");
    free(text);
    str_free(&longer);
    str_free(&why);
}

/* Its own template, but other tokens: as a fine-tune may have it. */
static void test_tokens(void)
{
    char path[300], *config;
    struct str why = {0};
    struct err e = {0};
    cJSON *json;

    snprintf(path, sizeof path, "%s/tokenizers/deepseek_v3/tokenizer_config.json", shared_dir());
    if (!path_exists(path)) {
        printf("skip: tests/test_chat.c: a template with tokens: no reference data in %s\n", shared_dir());
        return;
    }
    CHECK_MSG(json_read(path, 1 << 20, &json, &e) == 0, "%s", e.msg);
    snprintf(path, sizeof path, "%s/tokenizers/deepseek_v3", shared_dir());
    CHECK_STR(found(path, &why), "deepseek-v3");
    cJSON_ReplaceItemInObject(json, "bos_token", cJSON_CreateString("<s>"));
    config = cJSON_PrintUnformatted(json);
    put_tmp("tokenizer_config.json", config);
    CHECK_STR(found(tmp_dir, &why), "-");
    CHECK_MSG(strstr(why.p, "'<s>' as bos_token") && strstr(why.p, "--chat"), "%s", why.p);
    unlink(in_tmp("tokenizer_config.json"));
    cJSON_free(config);
    cJSON_Delete(json);
    str_free(&why);
}

static void test_python(void)
{
    static const char text[] =
        "[1, 1.0, -0, -0.0, 1e16, 123456789012345.678, 1E-5, 0.0001, 18446744073709551616, 1.10, "
        "5e-324, 1e22, true, null, \"a\\\"'\\n\\u0007\\u007f\\u00e9\\u2028\", {\"k\": []}]";
    static const char tree[] = "{\"a\":[1,{}],\"b\":[],\"c\":\"d\"}";
    struct str out = {0};
    struct err e = {0};
    cJSON *v;
    const char *s = "\xe3\x80\x80 \x1c x y\t\xc2\x85";
    size_t n = strlen(s);

    CHECK(json_parse(text, sizeof text - 1, "x", &v, &e) == 0);
    CHECK_MSG(py_keep_numbers(v, text, sizeof text - 1, "x", &e) == 0, "%s", e.msg);
    py_tojson(&out, v);
    CHECK_STR(
        out.p,
        "[1, 1.0, 0, -0.0, 1e+16, 123456789012345.67, 1e-05, 0.0001, 18446744073709551616, 1.1, 5e-324, "
        "1e+22, true, null, \"a\\\"'\\n\\u0007\x7f\xc3\xa9\xe2\x80\xa8\", {\"k\": []}]");
    str_clear(&out);
    py_str(&out, v);
    CHECK_STR(
        out.p,
        "[1, 1.0, 0, -0.0, 1e+16, 123456789012345.67, 1e-05, 0.0001, 18446744073709551616, 1.1, 5e-324, "
        "1e+22, True, None, 'a\"\\'\\n\\x07\\x7f\xc3\xa9\\u2028', {'k': []}]");
    cJSON_Delete(v);
    str_clear(&out);
    CHECK(json_parse(tree, sizeof tree - 1, "x", &v, &e) == 0);
    py_tojson_indented(&out, v);
    CHECK_STR(out.p, "{\n    \"a\": [\n        1,\n        {}\n    ],\n    \"b\": [],\n    \"c\": \"d\"\n}");
    py_strip(&s, &n);
    CHECK(n == 3 && memcmp(s, "x y", 3) == 0);
    str_free(&out);
    cJSON_Delete(v);
}

int main(void)
{
    const char *name, *about;
    int i;

    tmp_open();
    for (i = 0; chat_list(i, &name, &about); i++)
        test_renderings(name);
    test_refused();
    test_date();
    test_find();
    test_tokens();
    test_python();
    CHECK_END();
}
