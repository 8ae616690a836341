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
#include "jinja/numbers.h"
#include "text/chat.h"

enum { CONVERSATIONS = 200 };

static cJSON *conversation[CONVERSATIONS];
static int conversations;
static long equal, refused, differ, lost;
static size_t printed;
static bool all;

/* The name of the exception in "...line 3: TypeError: ...". */
static void exception(const char *msg, char name[40])
{
    const char *p = strstr(msg, "line ");

    p = p ? strchr(p, ':') : NULL;
    snprintf(name, 40, "E:%.*s", p ? (int)strcspn(p + 2, ":") : 0, p ? p + 2 : "");
}

static void compare(const char *file, const struct chat *c, const struct err *fault, const cJSON *golden,
                    int i)
{
    const cJSON *row = conversation[i];
    const char *want = cJSON_GetStringValue(golden);
    struct chat_result result = {.lost = 0};
    struct str out = {0};
    struct err e = {0};
    char hex[SHA256_HEX], got[40];

    if (c &&
        chat_render(c, json_member(row, "messages"), json_member(row, "tools"), NULL, "x", &out, &result, &e))
        exception(e.msg, got);
    else if (!c || result.raised.kind)
        exception(c ? result.raised.msg : fault->msg, got);
    else {
        sha256_hex(out.p ? out.p : "", out.n, hex);
        snprintf(got, sizeof got, "%.16s", hex);
    }
    printed += out.n;
    lost += result.lost != 0;
    if (strcmp(got, want) == 0) {
        refused += got[0] == 'E';
        equal += got[0] != 'E';
    } else {
        differ++;
        CHECK_MSG(false, "%s conversation %d: %s, not %s: %s", file, i, got, want,
                  c ? result.raised.msg : fault->msg);
    }
    str_free(&out);
}

static struct chat *open_template(const char *dir, const char *file, struct err *e)
{
    char path[4 * TMP_PATH];
    struct chat_options o = {path, "2026-03-09 12:00:00"};
    struct str why = {0};
    struct chat *c = NULL;

    snprintf(path, sizeof path, "%s/%s", dir, file);
    CHECK((chat_open(&c, &why, tmp_dir, &o, e) == 0) == (c != NULL));
    str_free(&why);
    return c;
}

static void one_template(const char *dir, const cJSON *row, const char *only)
{
    const char *file = cJSON_GetStringValue(json_member(row, "file"));
    const cJSON *golden;
    struct err e = {0};
    struct chat *c;
    clock_t before = clock();
    double seconds;
    int i = 0;

    if (only && strncmp(only, file, strlen(only)) != 0)
        return;
    c = open_template(dir, file, &e);
    cJSON_ArrayForEach(golden, json_member(row, "texts"))
    {
        compare(file, c, &e, golden, i++);
    }
    seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
    CHECK_MSG(seconds < 1, "%s takes %.2f s", file, seconds);
    chat_close(c);
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
                      json_keep_numbers(row, p, (size_t)(end - p), name, &e) == 0,
                  "%s", e.msg);
        fn(dir, row, i, only);
    }
    free(text);
}

static void keep(const char *dir, cJSON *row, int i, const char *only)
{
    (void)dir, (void)only;
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
    struct err e = {0};
    struct str out = {0};
    struct chat_result result = {.lost = 0};
    struct chat *c = open_template(dir, file, &e);

    if (c && chat_render(c, json_member(conversation[i], "messages"), json_member(conversation[i], "tools"),
                         NULL, "x", &out, &result, &e) == 0)
        fwrite(out.p, 1, out.n, stdout);
    printf("%s%s\n", e.msg, result.raised.msg);
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
    put_tmp("tokenizer_config.json",
            "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"unk_token\":\"<unk>\","
            "\"pad_token\":\"<pad>\",\"cls_token\":\"<cls>\",\"sep_token\":\"<sep>\"}");
    each_line(dir, "conversations.jsonl", keep, NULL);
    if (argc > 3) {
        show(dir, argv[2], atoi(argv[3]));
        return 0;
    }
    each_line(dir, "golden.jsonl", judge, argc > 2 ? argv[2] : NULL);
    printf("%ld equal, %ld refused alike, %ld differ; %zu bytes; %ld do not print everything\n", equal,
           refused, differ, printed, lost);
    CHECK_END();
}
