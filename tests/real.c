/*
 * real.c -- what of the files that somebody has is taken: every config.json and chat template in folders of
 * any layout, as lines of tab-separated values.
 *
 *     real CONVERSATIONS FOLDER...
 *
 * A config is a JSON file with architectures or model_type; a template a file that ends in .jinja, or what
 * stands under chat_template in a JSON file. A hub cache's models--ORG--NAME is called ORG/NAME; what an
 * index.tsv in its folder has in the columns file (with or without the ending) and source, as that says;
 * anything else by its path.
 *
 *     config    NAME  ARCHITECTURE  run|cut|refused  PARAMETERS  REASON
 *     template  NAME  -  renders|part|refused  RENDERED/CONVERSATIONS  REASON
 *
 * PARAMETERS are those of the layers that are run: without MTP layers and other parts of a multimodal model.
 * A template is taken in part when it raises an error over some conversations, or leaves out something that
 * they hold. Exit 1: nothing was found.
 */
#include "tmp.h"

#include <sys/stat.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/words.h"
#include "jinja/numbers.h"
#include "model/slots.h"
#include "text/chat.h"

enum { MAX_CONVERSATIONS = 100, DEEPEST = 12, LARGEST = 8 << 20 };

static const char day[] = "2026-03-09 12:00:00";
static cJSON *conversation[MAX_CONVERSATIONS];
static int conversations, found;

/* ---- what things are called ---- */

/* The i-th field of a line, and its bytes; 0 where there is none. */
static const char *field(const char *line, int i, size_t *n)
{
    for (; i > 0 && *(line += strcspn(line, "\t\n")) == '\t'; i--)
        line++;
    *n = i ? 0 : strcspn(line, "\t\n");
    return line;
}

/* Which field of the first line is called that; -1: none. */
static int column(const char *text, const char *name)
{
    size_t n;
    int i;

    for (i = 0; i < 64; i++) {
        const char *p = field(text, i, &n);

        if (n == strlen(name) && memcmp(p, name, n) == 0)
            return i;
    }
    return -1;
}

/* The source of a file's row in the folder's index.tsv. */
static bool name_in_index(const char *dir, const char *file, char name[300])
{
    struct err e = {0};
    char *path = path_join(dir, "index.tsv", &e), *text = NULL;
    const char *line, *p;
    size_t n;
    int files, sources;
    bool is = false;

    if (path && path_exists(path) && file_read(path, LARGEST, &text, &n, &e) == 0) {
        files = column(text, "file");
        sources = column(text, "source");
        for (line = strchr(text, '\n'); line && files >= 0 && sources >= 0 && !is;
             line = strchr(line, '\n')) {
            p = field(++line, files, &n);
            is = n && strncmp(p, file, n) == 0 &&
                 (!file[n] || strcmp(file + n, ".json") == 0 || strcmp(file + n, ".jinja") == 0);
            if (is && (p = field(line, sources, &n)))
                snprintf(name, 300, "%.*s", (int)n, p);
        }
    }
    free(path);
    free(text);
    return is;
}

/* shown: the path from the folder that was given on. */
static void name_of(const char *dir, const char *file, const char *shown, char name[300])
{
    const char *hub = strstr(dir, "models--"), *mark;
    int n;

    if (hub && (hub == dir || hub[-1] == '/') && (mark = strstr(hub + 8, "--"))) {
        n = (int)strcspn(mark, "/") - 2;
        snprintf(name, 300, "%.*s/%.*s", (int)(mark - hub - 8), hub + 8, n, mark + 2);
    } else if (!name_in_index(dir, file, name)) {
        snprintf(name, 300, "%s", shown);
    }
}

/* A line's last field: without what is before it in messages, tabs and ends of lines. */
static void print_reason(const char *msg)
{
    const char *quoted = *msg == '\'' ? strchr(msg + 1, '\'') : NULL;

    msg = quoted && strncmp(quoted, "': ", 3) == 0 ? quoted + 3 : msg;
    for (; *msg; msg++)
        putchar((unsigned char)*msg < ' ' ? ' ' : *msg);
    putchar('\n');
}

/* ---- configs ---- */

static uint64_t parameters_of(struct arch *a)
{
    struct model m = {.arch = *a, .ffn_module = a->family->ffn_module};
    struct slot s[LAYER_SLOTS];
    uint64_t sum = 0;
    int i, k, n;

    m.layout = a->family->expert_gate ? EXPERTS_SPLIT : a->family->fused_layout;
    for (i = -1; i < a->layers; i++) {
        n = i < 0 ? model_slots(&m, s) : layer_slots(&m, i, s);
        for (k = 0; k < n; k++)
            sum += s[k].optional && !s[k].bias ? 0 : slot_elements(&m, &s[k]);
    }
    return sum;
}

static void one_config(const cJSON *config, const char *name)
{
    const cJSON *first = json_member(config, "architectures");
    const char *architecture;
    struct err e = {0};
    struct arch a;

    first = cJSON_IsArray(first) ? first->child : NULL;
    architecture = cJSON_GetStringValue(first ? first : json_member(config, "model_type"));
    printf("config\t%s\t%s\t", name, architecture ? architecture : "-");
    found++;
    if (arch_read(&a, config, "config.json", NULL, &e)) {
        printf("refused\t-\t");
        print_reason(e.msg);
        return;
    }
    printf("%s\t%llu\t", *a.unread ? "cut" : "run", (unsigned long long)parameters_of(&a));
    print_reason(a.unread);
    arch_free(&a);
}

/* ---- templates ---- */

static void one_template(struct chat *c, const char *why, const char *name)
{
    struct chat_result result;
    unsigned lost = 0;
    int i, rendered = 0;
    struct str out = {0};
    struct err e = {0}, raised = {0};

    found++;
    printf("template\t%s\t-\t", name);
    for (i = 0; c && i < conversations; i++) {
        str_clear(&out);
        result = (struct chat_result){.lost = 0};
        if (chat_render(c, json_member(conversation[i], "messages"), json_member(conversation[i], "tools"),
                        NULL, "conversation", &out, &result, &e))
            result.raised = e;
        if (result.raised.kind && !raised.kind)
            raised = result.raised;
        rendered += !result.raised.kind;
        lost |= result.lost;
        err_clear(&e);
    }
    printf("%s\t%d/%d\t",
           !c                                   ? "refused"
           : rendered == conversations && !lost ? "renders"
           : rendered                           ? "part"
                                                : "raises",
           rendered, conversations);
    for (i = 0; i < LOST_KINDS; i++)
        if (lost & 1u << i)
            printf("%s not printed; ", chat_lost_name(i));
    print_reason(c ? raised.msg : why);
    str_free(&out);
}

/* A folder with tokens for templates that have none beside them. */
static const char *tokens_of_our_own(void)
{
    static const char tokens[] = "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"unk_token\": "
                                 "\"<unk>\", \"pad_token\": \"<pad>\"}";

    put_tmp("tokenizer_config.json", tokens);
    return tmp_dir;
}

/* With the tokens of dir; path: NULL, its own template. */
static void open_template(const char *dir, const char *path, const char *name)
{
    struct chat_options o = {path, day};
    struct chat *c = NULL;
    struct str why = {0};
    struct err e = {0};

    if (chat_open(&c, &why, dir, &o, &e))
        str_adds(&why, e.msg);
    one_template(c, why.p ? why.p : "", name);
    chat_close(c);
    str_free(&why);
}

/* As the tokenizer_config.json of a folder of its own, whatever it is called. */
static void embedded_template(const char *text, size_t n, const char *name)
{
    const char *path = anew("tokenizer_config.json");
    struct err e = {0};

    if (file_write(path, text, n, true, &e))
        fprintf(stderr, "%s\n", e.msg);
    else
        open_template(tmp_dir, NULL, name);
}

/* ---- folders ---- */

static void one_json(const char *dir, const char *file, const char *path, const char *shown)
{
    char *text = NULL, name[300];
    cJSON *json = NULL;
    struct err e = {0};
    size_t n;

    if (file_read(path, LARGEST, &text, &n, &e) == 0 && json_parse(text, n, path, &json, &e) == 0 &&
        cJSON_IsObject(json)) {
        name_of(dir, file, shown, name);
        if (json_member(json, "architectures") || json_member(json, "model_type"))
            one_config(json, name);
        if (json_member(json, "chat_template"))
            embedded_template(text, n, name);
    } else if (e.kind && strstr(file, "config")) {
        name_of(dir, file, shown, name);
        found++;
        printf("config\t%s\t-\trefused\t-\t", name);
        print_reason(e.msg);
    }
    cJSON_Delete(json);
    free(text);
}

static bool has_tokens(const char *dir)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    return path_exists(path);
}

/* A folder and those that it is in; a link to one of them would go round and round. */
struct above {
    const struct above *up;
    dev_t dev;
    ino_t ino;
    int depth;
};

static void walk(const char *dir, size_t root, const struct above *up);

static void one_file(const char *dir, const char *file, size_t root, const struct above *up)
{
    char path[4096], name[300];
    const char *shown = path + root;
    struct stat s;

    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, file) >= sizeof path || stat(path, &s))
        return;
    if (S_ISDIR(s.st_mode) && *file != '.') {
        walk(path, root, up);
    } else if (S_ISREG(s.st_mode) && ends_with(file, ".jinja")) {
        name_of(dir, file, shown, name);
        open_template(has_tokens(dir) ? dir : tokens_of_our_own(), path, name);
    } else if (S_ISREG(s.st_mode) && ends_with(file, ".json") && s.st_size <= LARGEST) {
        one_json(dir, file, path, shown);
    }
}

static void walk(const char *dir, size_t root, const struct above *up)
{
    struct above here = {.up = up, .depth = up ? up->depth + 1 : 0};
    struct err e = {0};
    struct stat s;
    char **names;
    size_t n, i;

    if (stat(dir, &s) == 0)
        here.dev = s.st_dev, here.ino = s.st_ino;
    for (; up; up = up->up)
        if (up->ino == here.ino && up->dev == here.dev)
            return;
    if (here.depth > DEEPEST || dir_list(dir, &names, &n, &e)) {
        fprintf(stderr, "%s: %s\n", dir, here.depth > DEEPEST ? "too deep" : e.msg);
        return;
    }
    for (i = 0; i < n; i++)
        one_file(dir, names[i], root, &here);
    dir_free(names, n);
}

static void read_conversations(const char *path)
{
    char *text = NULL, *p, *end;
    struct err e = {0};
    size_t n;

    if (file_read(path, LARGEST, &text, &n, &e) == 0)
        for (p = text; p < text + n && !e.kind && conversations < MAX_CONVERSATIONS; p = end + 1) {
            end = p + strcspn(p, "\n");
            if (json_parse(p, (size_t)(end - p), path, &conversation[conversations], &e) == 0)
                json_keep_numbers(conversation[conversations++], p, (size_t)(end - p), path, &e);
        }
    free(text);
    if (!e.kind)
        return;
    fprintf(stderr, "real: %s\n", e.msg);
    exit(2);
}

int main(int argc, char **argv)
{
    int i;

    if (argc < 3) {
        fputs("usage: real CONVERSATIONS FOLDER...\n", stderr);
        return 2;
    }
    tmp_open();
    read_conversations(argv[1]);
    for (i = 2; i < argc; i++) {
        size_t n = strlen(argv[i]);

        while (n > 1 && argv[i][n - 1] == '/')
            argv[i][--n] = 0;
        walk(argv[i], n + 1, NULL);
    }
    for (i = 0; i < conversations; i++)
        cJSON_Delete(conversation[i]);
    if (!found)
        fputs("real: no config.json and no chat template in what was given\n", stderr);
    return found ? 0 : 1;
}
