/*
 * test_templates.c -- real chat templates and conversations beside the repository (templates.tar.xz), of
 * which each pair has the digest of what transformers renders, or the name of the exception that it raises. A
 * part of them; all with MOE_SLOW=1.
 *
 *     test_templates [DIR [TEMPLATE [CONVERSATION]]]     DIR: where it is unpacked; the pairs that differ, or
 * one rendered
 */
#include "tmp.h"

#include <time.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "jinja/jinja.h"
#include "text/pyjson.h"

enum { CONVERSATIONS = 200 };

static cJSON *conversation[CONVERSATIONS];
static int conversations;
static long equal, refused, differ;
static size_t printed;
static bool all;

static const cJSON *get(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

/* reasoning_content for the other names of it, and thinking. */
static void alias(cJSON *messages)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    cJSON *m;
    int i;

    cJSON_ArrayForEach(m, messages)
    {
        const cJSON *v = NULL;

        for (i = 0; i < 3 && (!v || cJSON_IsNull(v)); i++)
            v = get(m, names[i]);
        if (!v || cJSON_IsNull(v))
            continue;
        cJSON *copy = cJSON_Duplicate(v, true);

        if (!get(m, "thinking")) {
            cJSON *t = cJSON_Duplicate(v, true);
            cJSON_AddItemToObject(m, "thinking", t);
            if (m->child != t) { /* it comes first */
                cJSON *last = t->prev;
                last->next = NULL;
                m->child->prev = t;
                t->next = m->child;
                m->child = t;
                t->prev = last;
                t->next->prev = t;
            }
        }
        if (get(m, "reasoning_content"))
            cJSON_ReplaceItemInObjectCaseSensitive(m, "reasoning_content", copy);
        else
            cJSON_AddItemToObject(m, "reasoning_content", copy);
    }
}

static int render(const struct jinja *t, const cJSON *row, struct str *out, struct err *e)
{
    static const char *const tokens[][2] = {{"bos_token", "<s>"},   {"eos_token", "</s>"},
                                            {"unk_token", "<unk>"}, {"pad_token", "<pad>"},
                                            {"cls_token", "<cls>"}, {"sep_token", "<sep>"}};
    const cJSON *messages = get(row, "messages"), *last = messages->child ? messages->child->prev : NULL;
    struct jinja_variable v[16];
    struct jinja_options o = {.now = "2026-03-09 12:00:00"};
    cJSON text[6], generate = {.type = cJSON_True};
    const char *role = cJSON_GetStringValue(get(last, "role"));
    int n = 0, i;

    if (role && strcmp(role, "assistant") == 0)
        generate.type = cJSON_False;
    v[n++] = (struct jinja_variable){"messages", messages};
    v[n++] = (struct jinja_variable){"tools", get(row, "tools")};
    v[n++] = (struct jinja_variable){"documents", NULL};
    v[n++] = (struct jinja_variable){"add_generation_prompt", &generate};
    for (i = 0; i < 6; i++) {
        text[i] = (cJSON){.type = cJSON_String, .valuestring = (char *)tokens[i][1]};
        v[n++] = (struct jinja_variable){tokens[i][0], &text[i]};
    }
    str_clear(out);
    return jinja_render(t, v, n, &o, out, e);
}

static void compare(const char *file, const struct jinja *t, struct err *open_error, const cJSON *golden,
                    int i)
{
    struct str out = {0};
    struct err e = {0};
    char hex[SHA256_HEX], got[100];
    const char *want = cJSON_GetStringValue(golden);
    bool bad = !t || render(t, conversation[i], &out, &e);

    if (bad) {
        const char *msg = t ? e.msg : open_error->msg, *p = strchr(msg, ':');

        snprintf(got, sizeof got, "E:%.*s", p ? (int)strcspn(p + 2, ":") : 0, p ? p + 2 : "");
    } else {
        sha256_hex(out.p ? out.p : "", out.n, hex);
        snprintf(got, sizeof got, "%.16s", hex);
        printed += out.n;
    }
    if (strcmp(got, want) == 0) {
        if (bad)
            refused++;
        else
            equal++;
    } else {
        differ++;
        CHECK_MSG(false, "%s conversation %d: %s, not %s: %s", file, i, got, want,
                  bad ? (t ? e.msg : open_error->msg) : "");
    }
    str_free(&out);
}

static void one_template(const char *dir, const cJSON *row, const char *only)
{
    const char *file = cJSON_GetStringValue(get(row, "file"));
    const cJSON *golden;
    struct err e = {0};
    char path[4 * TMP_PATH], *text;
    struct jinja *t;
    clock_t before = clock();
    size_t n;
    int i = 0;

    if (only && strncmp(only, file, strlen(only)) != 0)
        return;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (file_read(path, 1 << 24, &text, &n, &e)) {
        CHECK_MSG(false, "%s", e.msg);
        return;
    }
    t = jinja_open(text, n, &e);
    cJSON_ArrayForEach(golden, get(row, "texts"))
    {
        compare(file, t, &e, golden, i++);
    }
    CHECK_MSG((double)(clock() - before) / CLOCKS_PER_SEC < 1, "%s takes %.2f s", file,
              (double)(clock() - before) / CLOCKS_PER_SEC);
    jinja_close(t);
    free(text);
}

/* Calls fn with each line of a file as JSON. */
static void each_line(const char *dir, const char *name,
                      void (*fn)(const char *dir, cJSON *row, int i, const char *only), const char *only)
{
    char path[4 * TMP_PATH], *text, *p, *end;
    struct err e = {0};
    size_t n;
    int i = 0;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (file_read(path, 1 << 28, &text, &n, &e)) {
        CHECK_MSG(false, "%s", e.msg);
        return;
    }
    for (p = text; p < text + n; p = end + 1, i++) {
        cJSON *row = NULL;

        end = memchr(p, '\n', (size_t)(text + n - p));
        end = end ? end : text + n;
        CHECK_MSG(json_parse(p, (size_t)(end - p), name, &row, &e) == 0 &&
                      py_keep_numbers(row, p, (size_t)(end - p), name, &e) == 0,
                  "%s", e.msg);
        fn(dir, row, i, only);
    }
    free(text);
}

static void keep(const char *dir, cJSON *row, int i, const char *only)
{
    (void)dir, (void)only;
    alias(cJSON_GetObjectItem(row, "messages"));
    conversation[i] = row;
    conversations = i + 1;
}

static void judge(const char *dir, cJSON *row, int i, const char *only)
{
    if (only || all || i % 8 == 0)
        one_template(dir, row, only);
    cJSON_Delete(row);
}

static void show(const char *dir, const char *file, int i)
{
    char path[4 * TMP_PATH], *text;
    struct err e = {0};
    struct str out = {0};
    struct jinja *t;
    size_t n;

    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (file_read(path, 1 << 24, &text, &n, &e) || !(t = jinja_open(text, n, &e)) ||
        render(t, conversation[i], &out, &e))
        printf("%s\n", e.msg);
    fwrite(out.p, 1, out.n, stdout);
}

int main(int argc, char **argv)
{
    char dir[TMP_PATH], command[2 * TMP_PATH];

    all = getenv("MOE_SLOW") != NULL || argc > 1;
    tmp_open();
    snprintf(dir, sizeof dir, "%s/templates.tar.xz", shared_dir());
    if (argc < 2 && access(dir, R_OK) != 0)
        CHECK_SKIP("no templates.tar.xz in the folder of shared data");
    snprintf(command, sizeof command, "tar -xJf '%s' -C '%s'", dir, tmp_dir);
    snprintf(dir, sizeof dir, "%.400s", argc > 1 ? argv[1] : in_tmp("templates"));
    if (argc < 2 && system(command) != 0)
        CHECK_SKIP("templates.tar.xz cannot be unpacked");
    each_line(dir, "conversations.jsonl", keep, NULL);
    if (argc > 3) {
        show(dir, argv[2], atoi(argv[3]));
        return 0;
    }
    each_line(dir, "golden.jsonl", judge, argc > 2 ? argv[2] : NULL);
    printf("%ld equal, %ld refused alike, %ld differ; %zu bytes\n", equal, refused, differ, printed);
    CHECK_END();
}
