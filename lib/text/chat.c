/* chat.c -- the table of templates, which of them a checkpoint has, and messages checked. */
#include "text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/chat_parts.h"

enum { MAX_TEMPLATE = 16 << 20 };

/* What a renderer prints besides role and content; everything else of the kind is refused. */
enum {
    PRINTS_TOOLS = 1,
    PRINTS_CALLS = 2,
    PRINTS_REASONING = 4,
    PRINTS_THINKING = 8,
    PRINTS_DATE = 16,     /* of the day: needs --date */
    PRINTS_NO_TOOLS = 32, /* an empty list of tools otherwise than none */
    BOTH = PRINTS_TOOLS | PRINTS_CALLS
};

struct chat_template {
    const char *name, *about;
    int (*render)(struct chat_job *j);
    unsigned prints;
    const char *digest[2]; /* SHA-256 of texts that render alike */
    struct chat_token {
        const char *key, *text;
    } token[2]; /* what the template takes from tokenizer_config.json, and the renderer writes for it */
};

#define DEEPSEEK_BOS                                                                                         \
    {                                                                                                        \
        "bos_token", "<\xef\xbd\x9c"                                                                         \
                     "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"                                  \
    }
#define DEEPSEEK_EOS                                                                                         \
    {                                                                                                        \
        "eos_token", "<\xef\xbd\x9c"                                                                         \
                     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"                                    \
    }

static const struct chat_template known[] = {
    {"qwen3",
     "Qwen3 with hybrid thinking",
     chat_qwen3,
     BOTH | PRINTS_REASONING,
     {"87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5"},
     {{0}}},
    {"qwen3-null",
     "Qwen3 with hybrid thinking, later revision: content may be null",
     chat_qwen3_null,
     BOTH | PRINTS_REASONING,
     {"a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8"},
     {{0}}},
    {"qwen3-instruct-2507",
     "Qwen3 Instruct 2507",
     chat_qwen3_instruct,
     BOTH,
     {"64f85b198065d0fba2a81f37e10ed68161ce2c19a754c7100e67e0ca2ee9c326"},
     {{0}}},
    {"qwen3-thinking-2507",
     "Qwen3 Thinking 2507",
     chat_qwen3_thinking,
     BOTH | PRINTS_REASONING,
     {"3802169b2a02b81e6adb7ab4f64f91ff02db753c8c3a64a01c35192d3a61d8d7"},
     {{0}}},
    {"qwen3-coder",
     "Qwen3 Coder",
     chat_qwen3_coder,
     BOTH,
     {"5a38bfa05833266240066aedc497decc9b00cc0d3e3b8cceea98cf530196ab06"},
     {{0}}},
    {"harmony",
     "gpt-oss; prints the date: needs --date",
     chat_harmony,
     BOTH | PRINTS_THINKING | PRINTS_DATE,
     {"a4c9919cbbd4acdd51ccffe22da049264b1b73e59055fa58811a99efbd7c8146"},
     {{0}}},
    /* of transformers' conversion script; the second has \n for the newlines in strings */
    {"llama4",
     "Llama 4 Scout and Maverick Instruct, as transformers converts them",
     chat_llama4,
     BOTH | PRINTS_NO_TOOLS,
     {"95a231a15c8c976ac511e62c6fdf477ea9e3ca7a87cbb9974e0dd653eccb4563",
      "01a91bfb2e84c8055bf7b635898fef3cae0b69e42ac5634c212d308e0e9091bd"},
     {{"bos_token", "<|begin_of_text|>"}}},
    {"mixtral",
     "Mixtral 8x7B Instruct: ' [INST] '",
     chat_mixtral,
     0,
     {"796853172235ab3aaa4810013ddfe2eab481bda3306dad4f700c00d436eed596"},
     {{"bos_token", "<s>"}, {"eos_token", "</s>"}}},
    {"mixtral-old",
     "Mixtral 8x7B Instruct, first revision: '[INST] '",
     chat_mixtral_old,
     0,
     {"26a59556925c987317ce5291811ba3b7f32ec4c647c400c6cc7e3a9993007ba7"},
     {{"bos_token", "<s>"}, {"eos_token", "</s>"}}},
    {"deepseek-v2",
     "DeepSeek-V2-Chat and V2-Lite-Chat",
     chat_deepseek_v2,
     0,
     {"8aeba567270fa9a8d5372caf4b04affea947c4421d96adc01e3ff94021b0ae8e"},
     {DEEPSEEK_BOS, DEEPSEEK_EOS}},
    {"deepseek-v2.5",
     "DeepSeek-V2.5",
     chat_deepseek_v25,
     PRINTS_CALLS,
     {"54d400beedcd17f464e10063e0577f6f798fa896266a912d8a366f8a2fcc0bca"},
     {DEEPSEEK_BOS}},
    {"deepseek-v3",
     "DeepSeek-V3",
     chat_deepseek_v3,
     PRINTS_CALLS,
     {"3b8267e54b67df6500f231ffa969955cc9d26b3444a291ced4eb96ca7d3ca1ea"},
     {DEEPSEEK_BOS}},
    {"deepseek-r1",
     "DeepSeek-R1, first revision",
     chat_deepseek_r1,
     PRINTS_CALLS,
     {"b6835114b7303ddd78919a82e4d9f7d8c26ed0d7dfc36beeb12d524f6144eab1"},
     {DEEPSEEK_BOS}},
    {"deepseek-r1-think",
     "DeepSeek-R1, with <think> in the generation prompt",
     chat_deepseek_r1_think,
     PRINTS_CALLS,
     {"56a1447ad31926fdc21fb07e56e5642bd9c850c4f52d8c8af7bbe5f079a84f5f"},
     {DEEPSEEK_BOS}},
    /* of transformers' conversion script; the second has \n for the newlines in strings */
    {"ernie-4.5",
     "ERNIE 4.5 PT, as transformers converts it",
     chat_ernie,
     0,
     {"471fb571976770318fe6f27749e37940be8d29c0a7770558140f141f5906f2a2",
      "493661f3b4f51ff6e0ae169a487c72e2dda0a3f0e3632a237bafc455d0c8a4f8"},
     {{"cls_token", "<|begin_of_sentence|>"}, {"sep_token", "<|end_of_sentence|>"}}},
    {"glm-4.5",
     "GLM-4.5 and 4.5-Air",
     chat_glm,
     BOTH | PRINTS_REASONING,
     {"44f815868bf02fa458dd2f741a338046f4bf45f398eb6d067766726b9d96cce3"},
     {{0}}},
    /* two revisions that differ in what they make of arguments that are no object */
    {"glm-4.6",
     "GLM-4.6",
     chat_glm,
     BOTH | PRINTS_REASONING,
     {"f777778f775abe19c0f4bd576078d20a51ba8472139bde6852ea4490ec07398b",
      "46786fd637de2728b41928ac3b6983e2d8a04706e51778de031fa933eb6f566f"},
     {{0}}},
    {"tiny-chatml",
     "examples/tiny-qwen3",
     chat_tiny_chatml,
     0,
     {"a98fa0f8cbc47ef7013cdcf6cd8156319e14a390cabd7971df67eb31ff3849c2"},
     {{0}}},
    {"tiny-harmony",
     "examples/tiny-gptoss",
     chat_tiny_harmony,
     0,
     {"d38008cb9a0390aa63b05073fd30bf03434ee51e0ed8580b7d0f18b496dde58a"},
     {{0}}},
};
enum { KNOWN = sizeof known / sizeof *known };

/* ---- which template ---- */

/* Jinja drops one newline at the end of a template, so a text with and without it is the same one. text has
 * room for one byte behind its n. */
static const struct chat_template *by_digest(char *text, size_t n, char hex[SHA256_HEX])
{
    char other[SHA256_HEX];
    int i, k;

    sha256_hex(text, n, hex);
    text[n] = '\n';
    sha256_hex(text, n && text[n - 1] == '\n' ? n - 1 : n + 1, other);
    text[n] = 0;
    for (i = 0; i < KNOWN; i++)
        for (k = 0; k < 2 && known[i].digest[k]; k++)
            if (strcmp(known[i].digest[k], hex) == 0 || strcmp(known[i].digest[k], other) == 0)
                return &known[i];
    return NULL;
}

/* A fine-tune may keep the template and change the tokens that it prints: 1 if dir's are those of c, 0 if
 * not, why says so; -1: error. */
static int same_tokens(const struct chat_template *c, const char *dir, struct str *why, struct err *e)
{
    char *config = path_join(dir, "tokenizer_config.json", e);
    cJSON *json = NULL;
    int r = -1, k;

    if (!config)
        return -1;
    if (path_exists(config) && json_read(config, MAX_TEMPLATE, &json, e))
        goto done;
    r = 1;
    for (k = 0; k < 2 && c->token[k].key && r; k++) {
        const cJSON *t = chat_get(json, c->token[k].key);
        const char *text = cJSON_IsObject(t) ? chat_text(t, "content") : cJSON_GetStringValue(t);

        if (!text || strcmp(text, c->token[k].text) == 0)
            continue;
        str_addf(why, "'%s' has the chat template of %s, but '%.100s' as %s, not '%s'", dir, c->name, text,
                 c->token[k].key, c->token[k].text);
        r = 0;
    }
done:
    cJSON_Delete(json);
    free(config);
    return r;
}

/* Line ends as Python's text files and Jinja have them. */
static size_t unix_lines(char *text, size_t n)
{
    size_t i, k = 0;

    for (i = 0; i < n; i++)
        if (text[i] != '\r')
            text[k++] = text[i];
        else if (i + 1 == n || text[i + 1] != '\n')
            text[k++] = '\n';
    text[k] = 0;
    return k;
}

/* The text of dir's template, 1; 0: there is none; -1: error. */
static int template_text(const char *dir, char **text, size_t *n, struct err *e)
{
    char *jinja = path_join(dir, "chat_template.jinja", e), *config = NULL;
    cJSON *json = NULL;
    const cJSON *t, *item;
    int r = -1;

    if (!jinja || !(config = path_join(dir, "tokenizer_config.json", e)))
        goto done;
    if (path_exists(jinja)) {
        r = file_read(jinja, MAX_TEMPLATE, text, n, e) ? -1 : 1;
        goto done;
    }
    r = 0;
    if (!path_exists(config))
        goto done;
    r = -1;
    if (json_read(config, MAX_TEMPLATE, &json, e))
        goto done;
    t = chat_get(json, "chat_template");
    cJSON_ArrayForEach(item, t) /* several by name: the one called default */
    {
        if (cJSON_IsArray(t) && chat_text(item, "name") && strcmp(chat_text(item, "name"), "default") == 0)
            t = chat_get(item, "template");
    }
    r = 0;
    if (cJSON_IsString(t)) {
        *n = strlen(t->valuestring);
        *text = mem_strndup(t->valuestring, *n, e);
        r = *text ? 1 : -1;
    }
done:
    if (r == 1)
        *n = unix_lines(*text, *n);
    cJSON_Delete(json);
    free(jinja);
    free(config);
    return r;
}

static void add_names(struct str *s)
{
    int i;

    for (i = 0; i < KNOWN; i++)
        str_addf(s, "%s%s", i ? ", " : "", known[i].name);
}

static int find_name(const struct chat_template **out, const char *name, struct err *e)
{
    struct str names = {0};
    int i;

    for (i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0) {
            *out = &known[i];
            return 0;
        }
    add_names(&names);
    err_set(e, ERR_USAGE, "--chat: '%s' is none of %s", name, names.p ? names.p : "");
    str_free(&names);
    return -1;
}

int chat_find(const struct chat_template **out, struct str *why, const char *dir,
              const struct chat_options *o, struct err *e)
{
    char hex[SHA256_HEX], *text = NULL;
    size_t n;
    int r;

    *out = NULL;
    if (o->name)
        return find_name(out, o->name, e);
    r = template_text(dir, &text, &n, e);
    if (r < 0)
        return -1;
    if (r)
        *out = by_digest(text, n, hex);
    free(text);
    str_clear(why);
    if (*out && (r = same_tokens(*out, dir, why, e)))
        return r < 0 ? -1 : 0;
    if (*out)
        *out = NULL;
    else if (r)
        str_addf(why, "'%s' has a chat template that is not built in (SHA-256 %.16s...)", dir, hex);
    else
        str_addf(why, "'%s' has no chat template", dir);
    str_adds(why, ": name one with --chat (");
    add_names(why);
    str_adds(why, "), or give the rendered conversations as \"text\"");
    return str_ok(why, e);
}

const char *chat_name(const struct chat_template *c)
{
    return c->name;
}

bool chat_list(int i, const char **name, const char **about)
{
    if (i < 0 || i >= KNOWN)
        return false;
    *name = known[i].name;
    *about = known[i].about;
    return true;
}

/* ---- rendering ---- */

/* Members that carry something to read, and whether the renderer prints them. */
static int check_members(const struct chat_job *j, const cJSON *message, unsigned prints)
{
    static const struct {
        const char *name;
        unsigned bit;
    } carry[] = {{"tool_calls", PRINTS_CALLS},
                 {"reasoning_content", PRINTS_REASONING},
                 {"thinking", PRINTS_THINKING},
                 {"reasoning", 0},
                 {"function_call", 0}};
    size_t i;

    for (i = 0; i < sizeof carry / sizeof *carry; i++)
        if (py_true(chat_get(message, carry[i].name)) &&
            (!(carry[i].bit & prints) || !chat_is(message, "assistant")))
            return chat_refuse(j, message, "the template '%s' does not print '%s' here", j->name,
                               carry[i].name);
    return 0;
}

static int check(const struct chat_job *j, const cJSON *tools, unsigned prints)
{
    const cJSON *m, *item;

    if (!cJSON_IsArray(j->messages) || !j->messages->child)
        return err_set(j->e, ERR_INPUT, "%s: the conversation is not a list of messages", j->where);
    cJSON_ArrayForEach(m, j->messages)
    {
        if (!cJSON_IsObject(m) || !chat_text(m, "role"))
            return chat_refuse(j, m, "is not an object with a role");
        if (check_members(j, m, prints))
            return -1;
    }
    if (tools && !cJSON_IsNull(tools) && !cJSON_IsArray(tools))
        return err_set(j->e, ERR_INPUT, "%s: 'tools' is not a list", j->where);
    if (cJSON_IsArray(tools) && !tools->child && (prints & PRINTS_NO_TOOLS))
        return err_set(j->e, ERR_INPUT,
                       "%s: 'tools' is an empty list, which the template '%s' would announce: leave it out",
                       j->where, j->name);
    if (j->tools && !(prints & PRINTS_TOOLS))
        return err_set(j->e, ERR_INPUT, "%s: the template '%s' does not print tools", j->where, j->name);
    cJSON_ArrayForEach(item, j->tools)
    {
        if (!cJSON_IsObject(item))
            return chat_refuse_tool(j, item, "is not an object");
    }
    return 0;
}

int chat_render(const struct chat_template *c, const struct chat_options *o, const cJSON *messages,
                const cJSON *tools, const char *where, struct str *out, struct err *e)
{
    struct chat_job j = {.name = c->name,
                         .messages = messages,
                         .tools = cJSON_IsArray(tools) && tools->child ? tools : NULL,
                         .date = o->date,
                         .where = where,
                         .out = out,
                         .e = e};

    if (check(&j, tools, c->prints))
        return -1;
    if ((c->prints & PRINTS_DATE) && !o->date)
        return err_set(e, ERR_USAGE,
                       "%s: the chat template '%s' prints the date of the day: fix it with --date YYYY-MM-DD",
                       where, c->name);
    j.generate = !chat_is(messages->child->prev, "assistant"); /* cJSON: the first one's prev is the last */
    return c->render(&j) ? -1 : str_ok(out, e);
}
