/*
 * carry.c -- the files that go along with a new model, and where it may stand.
 */
#define _XOPEN_SOURCE 700 /* realpath */
#include "surgery/carry.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/num.h"
#include "base/words.h"
#include "model/container.h"
#include "surgery/quant_names.h"

#define TEMPLATES "additional_chat_templates"

enum { MAX_BESIDE = 64 << 20 }; /* bytes of a file about quantization */

/* In this order: the first pattern that matches decides. */
static const struct {
    const char *pattern;
    bool carried;
} rules[] = {
    {".*", false},      {"config.json", false}, {"adapter_*", false},     {"*.index.json", false},
    {"*.json", true},   {"*.jinja", true},      {"*.jinja2", true},       {"*.txt", true},
    {"*.model", true},  {"*.tiktoken", true},   {"*.py", true},           {"*.md", true},
    {"*.yaml", true},   {"*.yml", true},        {"*.safetensors", false}, {"*.bin", false},
    {"*.gguf", false},  {"licen[sc]e*", true},  {"notice*", true},        {"copying*", true},
    {"*policy*", true},
};

/* A pattern in small letters, whatever the name's. */
static bool matches(const char *name, const char *pattern)
{
    char low[NAME_MAX + 1];
    size_t i;

    for (i = 0; name[i] && i < NAME_MAX; i++)
        low[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + 'a' - 'A') : name[i];
    low[i] = 0;
    return !name[i] && fnmatch(pattern, low, 0) == 0;
}

static bool carried(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof rules / sizeof *rules; i++)
        if (matches(name, rules[i].pattern))
            return rules[i].carried;
    return false;
}

/* README.md, README.base.md, README.base.base.md ... move one step on. The caller frees. */
static char *new_name(const char *name, struct err *e)
{
    const char *s = name;

    if (strncmp(s, "README", 6) != 0)
        return mem_strdup(name, e);
    for (s += 6; strncmp(s, ".base", 5) == 0; s += 5)
        ;
    if (strcmp(s, ".md") != 0)
        return mem_strdup(name, e);
    return mem_printf(e, "%.*s.base.md", (int)(s - name), name);
}

static int copy_file(const char *from, const char *to, struct err *e)
{
    struct rfile in;
    struct wfile out = {.fd = -1};
    int r = -1;

    if (rfile_open(&in, from, e))
        return -1;
    if (wfile_open(&out, to, false, e) == 0) {
        if (wfile_copy(&out, &in, 0, in.size, e) == 0)
            r = wfile_commit(&out, e);
        wfile_close(&out);
    }
    rfile_close(&in);
    return r;
}

/* -1: it is a link to nothing. */
static int measure(const char *path, bool *regular, uint64_t *size, struct err *e)
{
    struct stat st;

    if (stat(path, &st) == 0) {
        *regular = S_ISREG(st.st_mode);
        *size = (uint64_t)st.st_size;
        return 0;
    }
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        return err_set(
            e, ERR_INPUT,
            "'%s' is a link to a file that is not there, and would be left behind: is the download complete?",
            path);
    return err_sys(e, "cannot read '%s'", path);
}

/* The text of a file that follows the cut. */
static int read_cut(const char *path, const struct cut *c, char **text, size_t *n, struct err *e)
{
    char *old;
    int r;

    if (file_read(path, MAX_BESIDE, &old, n, e))
        return -1;
    r = quant_names_cut(old, *n, path, c, text, n, e);
    free(old);
    return r;
}

static int write_cut(const char *from, const char *to, const struct cut *c, struct err *e)
{
    char *text;
    size_t n;
    int r;

    if (read_cut(from, c, &text, &n, e))
        return -1;
    r = file_write(to, text, n, false, e);
    free(text);
    return r;
}

/* One directory: with to, copies; always adds the sizes. names_by_rule: only what the rules carry. c: what
 * files about quantization follow, or NULL. */
static int carry_dir(const char *from, const char *to, const struct cut *c, bool names_by_rule,
                     uint64_t *bytes, struct err *e)
{
    char **name;
    size_t n, i;
    int r = 0;

    if (dir_list(from, &name, &n, e))
        return -1;
    for (i = 0; i < n && !r; i++) {
        char *src = path_join(from, name[i], e), *as = new_name(name[i], e), *dst = NULL;
        bool regular = false;
        uint64_t size = 0;

        r = src && as ? 0 : -1;
        if (!r && (!names_by_rule || carried(name[i])))
            r = measure(src, &regular, &size, e);
        if (!r && regular) {
            *bytes += size;
            if (to) {
                dst = path_join(to, as, e);
                r = !dst                                         ? -1
                    : c && in_words(quantization_files, name[i]) ? write_cut(src, dst, c, e)
                                                                 : copy_file(src, dst, e);
            }
        }
        free(src);
        free(as);
        free(dst);
    }
    dir_free(name, n);
    return r;
}

static int carry(const struct model *m, const struct cut *c, const char *dir, uint64_t *bytes, struct err *e)
{
    char *from, *to;
    int r;

    if (!m->ckpt.container->folder)
        return 0;
    from = path_join(m->dir, TEMPLATES, e);
    to = dir ? path_join(dir, TEMPLATES, e) : NULL;
    r = from && (to || !dir) ? carry_dir(m->dir, dir, c, true, bytes, e) : -1;

    if (!r && path_is_dir(from)) {
        if (to && mkdir(to, 0777))
            r = err_sys(e, "cannot create the directory '%s'", to);
        else
            r = carry_dir(from, to, NULL, false, bytes, e);
    }
    free(from);
    free(to);
    return r;
}

int carry_bytes(const struct model *m, uint64_t *bytes, struct err *e)
{
    *bytes = 0;
    return carry(m, NULL, NULL, bytes, e);
}

/* Whether files about quantization can follow it: before anything is written. */
int carry_check_cut(const struct model *m, const struct cut *c, struct err *e)
{
    char *path, *text;
    int i, r = 0;
    size_t n;

    for (i = 0; quantization_files[i] && r == 0 && m->ckpt.container->folder && c->kept < c->experts; i++) {
        path = path_join(m->dir, quantization_files[i], e);
        text = NULL;
        r = !path ? -1 : path_exists(path) ? read_cut(path, c, &text, &n, e) : 0;
        free(text);
        free(path);
    }
    return r;
}

int carry_files(const struct model *m, const struct cut *c, bool requantized, const char *dir, struct err *e)
{
    uint64_t bytes = 0;
    int i, r = carry(m, c && c->kept < c->experts ? c : NULL, dir, &bytes, e);

    for (i = 0; quantization_files[i] && requantized && !r && m->ckpt.container->folder; i++) {
        char *path = path_join(dir, quantization_files[i], e);

        r = !path ? -1 : unlink(path) && errno != ENOENT ? err_sys(e, "cannot remove '%s'", path) : 0;
        free(path);
    }
    return r;
}

/* ---- where OUT may stand ---- */

/* The absolute path of out, of which the last components may not exist yet. The caller frees. */
static char *absolute(const char *out, struct err *e)
{
    char *p = mem_strdup(out, e), *real = NULL, *slash, *full;
    size_t n;

    if (!p)
        return NULL;
    for (n = strlen(p); n > 1 && p[n - 1] == '/'; n--)
        p[n - 1] = 0;
    real = realpath(p, NULL);
    if (!real && errno == ENOENT) {
        slash = strrchr(p, '/');
        if (slash)
            *slash = 0;
        real = realpath(!slash ? "." : *p ? p : "/", NULL);
        if (real) {
            full = mem_printf(e, "%s%s%s", real, strcmp(real, "/") == 0 ? "" : "/", slash ? slash + 1 : p);
            free(real);
            real = full;
        }
    }
    if (!real)
        err_sys(e, "cannot use '%s' as the output", out);
    free(p);
    return real;
}

static bool contains(const char *outer, const char *inner)
{
    size_t n = strlen(outer);

    return strncmp(outer, inner, n) == 0 && (!inner[n] || inner[n] == '/' || outer[n - 1] == '/');
}

int carry_check_target(const struct model *m, const char *out, struct err *e)
{
    char *to = absolute(out, e), *from = absolute(m->dir, e);
    int r = to && from ? 0 : -1;

    if (!r && (contains(to, from) || contains(from, to)))
        r = err_set(e, ERR_INPUT,
                    "the output '%s' is the model's own directory, or one holds the other: choose another",
                    out);
    free(to);
    free(from);
    return r;
}

/* What is in models' directories: anything else is somebody's work, and not to be deleted. NULL ends them. */
static const char *const weight_files[] = {"*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth", NULL};
static const char *const other_files[] = {
    ".*",          "*.json",       "*.jinja",     "*.jinja2",          "*.model",  "*.tiktoken",
    "*.py",        "readme*",      "licen[sc]e*", "notice*",           "copying*", "*use_policy*",
    "*vocab*.txt", "*merges*.txt", "*token*.txt", "requirements*.txt", NULL};
static const char *const directories[] = {TEMPLATES, "original", "metal", ".cache", NULL};

static bool listed(const char *name, const char *const *pattern)
{
    while (*pattern && !matches(name, *pattern))
        pattern++;
    return *pattern;
}

/* Is it a file of a model by its name, or of one that is beside the other model as well? */
static bool of_model(const struct model *m, const char *dir, const char *name, struct err *e)
{
    char *path = path_join(dir, name, e), *other = path_join(m->dir, name, e);
    bool yes = path && other &&
               (path_is_dir(path) ? listed(name, directories)
                                  : listed(name, weight_files) || listed(name, other_files) ||
                                        (path_exists(other) && !path_is_dir(other)));

    free(path);
    free(other);
    return yes;
}

/* Does its config.json tell of a model? */
static bool has_config(const char *dir)
{
    char *path = path_join(dir, "config.json", NULL);
    cJSON *config = NULL;
    bool yes = false;

    if (path && path_exists(path) && json_read(path, 16 << 20, &config, NULL) == 0) {
        yes = cJSON_HasObjectItem(config, "model_type") || cJSON_HasObjectItem(config, "architectures");
        input_release(path); /* looked at, not used */
    }
    cJSON_Delete(config);
    free(path);
    return yes;
}

int carry_fit(void *ctx, const char *dir, struct err *e)
{
    const struct model *m = ctx;
    char **name;
    size_t n, i;
    bool weights = false;
    int r = 0;

    if (dir_list(dir, &name, &n, e))
        return -1;
    for (i = 0; i < n && !r; i++) {
        weights |= listed(name[i], weight_files);
        if (!of_model(m, dir, name[i], e))
            r = err_set(e, ERR_INPUT,
                        "'%s' holds '%s', which is no file of a model: choose another name, or remove it",
                        dir, name[i]);
    }
    if (!r && (!weights || !has_config(dir)))
        r = err_set(e, ERR_INPUT,
                    "'%s' is not a model's directory and not empty: choose another name, or remove it", dir);
    dir_free(name, n);
    return r;
}

int carry_check_space(const char *out, uint64_t bytes, uint64_t *free_bytes, struct err *e)
{
    char need[32], have[32];

    *free_bytes = 0;
    if (disk_free(out, free_bytes, e))
        return -1;
    if (*free_bytes >= bytes)
        return 0;
    return err_set(e, ERR_IO, "'%s' needs %s, its file system has %s free", out, num_bytes(bytes, need),
                   num_bytes(*free_bytes, have));
}
