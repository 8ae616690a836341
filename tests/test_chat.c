/*
 * test_chat.c -- conversations through the chat template of a model: where it is found, what it is given,
 * what is refused, and what it does not print. What templates mean is the matter of test_jinja.c and
 * test_templates.c.
 */
#include "tmp.h"

#include "base/json.h"
#include "jinja/numbers.h"
#include "text/chat.h"

/* The chat of a folder; NULL: none, then why says so, or an error. */
static struct chat *opened(const char *dir, const char *name, const char *date, struct str *why,
                           struct err *e)
{
    struct chat_options o = {name, date};
    struct chat *c = NULL;

    err_clear(e);
    str_clear(why);
    if (chat_open(&c, why, dir, &o, e) == 0)
        CHECK((c == NULL) == (why->n > 0));
    return c;
}

/* The rendering of a line {"messages":..., "tools":...}, which the caller frees; NULL: refused, e says why.
 */
static char *render(const struct chat *c, const char *line, size_t n, struct chat_result *result,
                    struct err *e)
{
    struct str out = {0};
    cJSON *row = NULL;
    int bad;

    err_clear(e);
    bad = json_parse(line, n, "line", &row, e) || json_keep_numbers(row, line, n, "line", e) ||
          chat_render(c, json_member(row, "messages"), json_member(row, "tools"), NULL, "line", &out, result,
                      e);
    cJSON_Delete(row);
    if (!bad && !result->raised.kind)
        return out.p;
    str_free(&out);
    return NULL;
}

/* The examples' templates as jinja2 renders them. */
static void test_renderings(const char *model, const char *file)
{
    char *text, *p, *end;
    struct err e = {0};
    struct str why = {0};
    struct chat *c = opened(model, NULL, NULL, &why, &e);
    struct chat_result result;
    size_t size;
    int rows = 0;

    CHECK_MSG(c && file_read(file, 1 << 24, &text, &size, &e) == 0, "%s", e.msg);
    for (p = text; p < text + size; p = end + 1) {
        cJSON *row = NULL;
        char *got;

        end = memchr(p, '\n', (size_t)(text + size - p));
        end = end ? end : text + size;
        got = render(c, p, (size_t)(end - p), &result, &e);
        rows++;
        CHECK_MSG(got && json_parse(p, (size_t)(end - p), "row", &row, &e) == 0, "%s row %d: %s", file, rows,
                  e.msg);
        if (got)
            CHECK_STR(got, cJSON_GetStringValue(json_member(row, "text")));
        CHECK(!result.lost);
        free(got);
        cJSON_Delete(row);
    }
    CHECK_MSG(rows >= 12, "%s has %d rows", file, rows);
    free(text);
    str_free(&why);
    chat_close(c);
}

/* What template makes of line, in a folder with the tokens; compared with the text, or the message of its
 * refusal. */
static unsigned gives(const char *template, const char *line, const char *want)
{
    struct chat_result result = {.lost = 0};
    struct str why = {0};
    struct err e = {0};
    struct chat *c;
    char *got;

    put_tmp("chat_template.jinja", template);
    c = opened(tmp_dir, NULL, "2025-08-05", &why, &e);
    CHECK_MSG(c, "%s%s", e.msg, why.p ? why.p : "");
    got = c ? render(c, line, strlen(line), &result, &e) : NULL;
    if (got)
        CHECK_STR(got, want);
    else
        CHECK_MSG(strstr(result.raised.kind ? result.raised.msg : e.msg, want), "'%s%s' is not '%s'", e.msg,
                  result.raised.msg, want);
    free(got);
    str_free(&why);
    chat_close(c);
    unlink(in_tmp("chat_template.jinja"));
    return result.lost;
}

#define USER "{\"role\":\"user\",\"content\":\"q\"}"

static void test_given(void)
{
    put_tmp(
        "tokenizer_config.json",
        "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"pad_token\":null,\"x_token\":\"X\","
        "\"extra_special_tokens\":{\"image_token\":\"<i>\"}}");
    put_tmp("special_tokens_map.json", "{\"unk_token\":\"<unk>\",\"bos_token\":{\"content\":\"<b>\"}}");
    gives("{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ x_token }}{{ image_token }}{{ pad_token is "
          "defined }}"
          "{{ tools }}{{ documents }}{{ add_generation_prompt }}",
          "{\"messages\":[" USER "]}", "<b></s><unk>X<i>FalseNoneNoneTrue");
    put_tmp("tokenizer_config.json", "{\"bos_token\":\"<s>\",\"added_tokens_decoder\":{}}");
    gives("{{ bos_token }}{{ unk_token is defined }}{{ add_generation_prompt }}",
          "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"a\"}]}", "<s>FalseFalse");
    unlink(in_tmp("special_tokens_map.json"));
    unlink(in_tmp("tokenizer_config.json"));
    gives("{{ tools|tojson }}",
          "{\"messages\":[" USER "],\"tools\":[{\"x\":1.0,\"y\":18446744073709551616}]}",
          "[{\"x\": 1.0, \"y\": 18446744073709551616}]");
    gives("{{ tools }}", "{\"messages\":[" USER "],\"tools\":[]}", "[]");
    gives("{{ tools is none }}", "{\"messages\":[" USER "],\"tools\":null}", "True");
    gives("{{ strftime_now('%d %b %Y') }}", "{\"messages\":[" USER "]}", "05 Aug 2025");
    /* reasoning by any of its names, thinking first, reasoning_content in its place or last */
    gives(
        "{{ messages[0]|tojson }}", "{\"messages\":[{\"role\":\"assistant\",\"reasoning\":\"r\"}]}",
        "{\"thinking\": \"r\", \"role\": \"assistant\", \"reasoning\": \"r\", \"reasoning_content\": \"r\"}");
    gives(
        "{{ messages[0]|tojson }}",
        "{\"messages\":[{\"reasoning_content\":null,\"thinking\":\"t\",\"role\":\"x\",\"reasoning\":\"r\"}]}",
        "{\"reasoning_content\": \"t\", \"thinking\": \"t\", \"role\": \"x\", \"reasoning\": \"r\"}");
    gives("{{ messages[0]|tojson }}", "{\"messages\":[{\"role\":\"x\",\"thinking\":null}]}",
          "{\"role\": \"x\", \"thinking\": null}");
}

static void test_refused(void)
{
    static const char *const refused[][2] = {
        {"{\"messages\":[]}", "not a list of messages"},
        {"{\"messages\":{}}", "not a list of messages"},
        {"{}", "not a list of messages"},
        {"{\"messages\":[1]}", "line: message 1 is not an object"},
        {"{\"messages\":[" USER "],\"tools\":{}}", "'tools' is not a list"},
        {"{\"messages\":[" USER "],\"tools\":[1]}", "tool 1 is not an object"},
        {"{\"messages\":[" USER "],\"tools\":[{\"x\":1,\"x\":2}]}", "occurs twice"},
        {"{\"messages\":[" USER "],\"tools\":[{\"x\":1e999}]}", "too large"}};
    struct chat_result result;
    struct str why = {0};
    struct err e = {0};
    struct chat *c;
    size_t i;

    for (i = 0; i < sizeof refused / sizeof *refused; i++)
        gives("x", refused[i][0], refused[i][1]);
    gives("a\n{{ raise_exception('never') }}", "{\"messages\":[" USER "]}", "line 2: TemplateError: never");
    put_tmp("chat_template.jinja", "{{ strftime_now('%d') }}");
    c = opened(tmp_dir, NULL, NULL, &why, &e);
    CHECK(!render(c, "{\"messages\":[" USER "]}", strlen("{\"messages\":[" USER "]}"), &result, &e));
    CHECK_MSG(e.kind == ERR_USAGE && strstr(e.msg, "--date"), "%s", e.msg);
    chat_close(c);
    unlink(in_tmp("chat_template.jinja"));
    str_free(&why);
}

static void test_lost(void)
{
    static const char all[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\" \\\"Hi\\\" "
        "there\\n\"},{\"role\":\"assistant\",\"content\":"
        "null,\"reasoning\":\"why\",\"tool_calls\":[{\"function\":{\"name\":\"look\",\"arguments\":{\"at\":["
        "\"the "
        "sky\",1]}}}]}],\"tools\":[{\"function\":{\"name\":\"look\",\"description\":\"looks\"}}]}";

    CHECK(gives("\"Hi\" there why look the sky looks", all, "\"Hi\" there why look the sky looks") == 0);
    CHECK(gives("\\\"Hi\\\" there why look the sky looks", all, "\\\"Hi\\\" there why look the sky looks") ==
          0);
    CHECK(gives("why look the sky looks", all, "why look the sky looks") == LOST_CONTENT);
    CHECK(gives("\"Hi\" there look the sky looks", all, "\"Hi\" there look the sky looks") == LOST_REASONING);
    CHECK(gives("\"Hi\" there why look the sky", all, "\"Hi\" there why look the sky") == LOST_TOOLS);
    CHECK(gives("\"Hi\" there why look looks", all, "\"Hi\" there why look looks") == LOST_CALLS);
    CHECK(gives("x",
                "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"part\"}]}]}",
                "x") == LOST_CONTENT);
    /* parts that are no text: written out, or not */
    CHECK(gives("<image>a",
                "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"},{\"type\":\"text\","
                "\"text\":\"a\"}]}]}",
                "<image>a") == LOST_CONTENT);
    CHECK(
        gives("<image>",
              "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
              "\"data:\"}}]}]}",
              "<image>") == LOST_CONTENT);
    CHECK(gives("why a",
                "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":"
                "\"why\"},{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":null}]}]}",
                "why a") == 0);
    CHECK_STR(chat_lost_name(0), "contents");
    CHECK_STR(chat_lost_name(LOST_KINDS - 1), "calls");
}

static void test_open(void)
{
    struct str why = {0}, digest = {0};
    struct err e = {0};
    struct chat *c;

    CHECK(!opened(tmp_dir, NULL, NULL, &why, &e) && strstr(why.p, "no chat template") &&
          strstr(why.p, "--chat"));
    put_tmp("chat_template.jinja", "a\n{% if %}");
    CHECK(!opened(tmp_dir, NULL, NULL, &why, &e) && strstr(why.p, "line 2: TemplateSyntaxError") &&
          strstr(why.p, "--chat"));
    CHECK(!opened("/", in_tmp("chat_template.jinja"), NULL, &why, &e) && e.kind == ERR_INPUT &&
          strstr(e.msg, "chat_template.jinja: line 2: "));
    CHECK(!opened("/", in_tmp("none.jinja"), NULL, &why, &e) && e.kind == ERR_IO);
    CHECK(!opened(tmp_dir, "rag", NULL, &why, &e) && e.kind == ERR_USAGE && strstr(e.msg, "but 'default'"));
    unlink(in_tmp("chat_template.jinja"));
    /* several by name; tools have their own */
    put_tmp("tokenizer_config.json",
            "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"T\"},{\"name\":"
            "\"default\",\"template\":\"D\"},{\"name\":\"rag\",\"template\":\"R\"}]}");
    for (int i = 0; i < 3; i++) {
        static const char *const line[] = {"{\"messages\":[" USER "]}",
                                           "{\"messages\":[" USER "],\"tools\":[]}",
                                           "{\"messages\":[" USER "]}"};
        struct chat_result result;
        char *got, want[2] = {"DTR"[i], 0};

        c = opened(tmp_dir, i == 2 ? "rag" : NULL, NULL, &why, &e);
        got = render(c, line[i], strlen(line[i]), &result, &e);
        CHECK_STR(got ? got : e.msg, want);
        if (i == 0) {
            CHECK_STR(chat_name(c), "3f39d5c348e5b79d"); /* printf D | sha256sum */
            str_adds(&digest, chat_digest(c));
        }
        CHECK((strcmp(chat_digest(c), digest.p) == 0) == (i < 2));
        free(got);
        chat_close(c);
    }
    put_tmp("tokenizer_config.json", "{\"chat_template\":null}");
    CHECK(!opened(tmp_dir, NULL, NULL, &why, &e) && strstr(why.p, "no chat template"));
    unlink(in_tmp("tokenizer_config.json"));
    str_free(&digest);
    str_free(&why);
}

int main(void)
{
    tmp_open();
    test_renderings("examples/tiny-qwen3", "tests/data/chat/tiny-chatml.jsonl");
    test_renderings("examples/tiny-gptoss", "tests/data/chat/tiny-harmony.jsonl");
    test_given();
    test_refused();
    test_lost();
    test_open();
    CHECK_END();
}
