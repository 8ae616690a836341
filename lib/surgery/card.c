/* card.c -- the model card: front matter and text, from the source's and the plan. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "surgery/card.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/json_out.h"

enum { MAX_CARD = 16 << 20 };

/* "ORG/NAME" from a path with "models--ORG--NAME" in it; NULL if there is none or no memory. */
static char *hub_id(const char *path, struct err *e)
{
    const char *p = strstr(path, "models--"), *end, *dash;

    if (!p || (p > path && p[-1] != '/'))
        return NULL;
    p += strlen("models--");
    end = p + strcspn(p, "/");
    dash = strstr(p, "--");
    if (!dash || dash >= end)
        return mem_strndup(p, (size_t)(end - p), e);
    return mem_printf(e, "%.*s/%.*s", (int)(dash - p), p, (int)(end - dash - 2), dash + 2);
}

/* The last part of a directory's real name. */
static char *dir_name(const char *dir, struct err *e)
{
    char *real = realpath(dir, NULL), *name;

    name = mem_strdup(real ? path_base(real) : path_base(dir), e);
    free(real);
    return name;
}

/* The front matter's block of one key: its line and the indented or "- " lines after it. */
static size_t block(const char *yaml, const char *key, const char **from)
{
    size_t k = strlen(key);
    const char *p = yaml, *end;

    while (*p) {
        if (strncmp(p, key, k) == 0 && p[k] == ':') {
            end = p;
            do {
                end += strcspn(end, "\n");
                end += *end == '\n';
            } while (*end == ' ' || *end == '\t' || *end == '-');
            *from = p;
            return (size_t)(end - p);
        }
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    return 0;
}

/* Without a byte order mark and carriage returns before line ends. */
static void plain_lines(char *text)
{
    char *to = text, *p = text + skip_bom(text, strlen(text));

    for (; *p; p++)
        if (p[0] != '\r' || p[1] != '\n')
            *to++ = *p;
    *to = 0;
}

/* The YAML between the two "---" lines of the source's README.md, or "". The caller frees. */
static char *front_matter(const struct model *m, struct err *e)
{
    char *path = path_join(m->dir, "README.md", e), *text = NULL, *yaml = NULL, *end;
    size_t n;

    if (!path)
        return NULL;
    if (!path_exists(path)) {
        yaml = mem_strdup("", e);
    } else if (file_read(path, MAX_CARD, &text, &n, e) == 0) {
        plain_lines(text);
        end = strncmp(text, "---\n", 4) == 0 ? strstr(text + 3, "\n---") : NULL;
        yaml = end ? mem_strndup(text + 4, (size_t)(end + 1 - (text + 4)), e) : mem_strdup("", e);
    }
    free(text);
    free(path);
    return yaml;
}

static bool copy_block(struct str *s, const char *yaml, const char *key)
{
    const char *from;
    size_t n = block(yaml, key, &from);

    if (n)
        str_add(s, from, n);
    return n > 0;
}

/* A word that YAML takes for something else than a string. */
static bool is_yaml_word(const char *s)
{
    static const char *const words[] = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"};
    size_t i;

    for (i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(s, words[i]) == 0)
            return true;
    return false;
}

/* A string of YAML, quoted unless it is plain in any reading: a quoted string of JSON is one of YAML. */
static void add_yaml_string(struct str *s, const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t n = strlen(text);

    if (n && strchr(letters, *text) && !is_yaml_word(text) &&
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-") == n)
        str_adds(s, text);
    else
        json_quote(s, text, n);
}

/* What is not UTF-8, in names of files or in the source's card, becomes U+FFFD. */
static int only_utf8(struct str *s, struct err *e)
{
    struct str out = {0};
    size_t i = 0, good;
    int bad;

    while (i < s->n) {
        good = utf8_check(s->p + i, s->n - i);
        str_add(&out, s->p + i, good);
        i += good;
        if (i < s->n) {
            str_adds(&out, "\xef\xbf\xbd");
            i++;
        }
    }
    bad = str_ok(s, e) || str_ok(&out, e);
    str_free(s);
    *s = out;
    return bad;
}

static void add_yaml(struct str *s, const struct card *c, const char *yaml, const char *hub, const char *name)
{
    static const char *const keep[] = {"license", "license_name", "license_link", "language", "pipeline_tag"};
    size_t i;

    str_adds(s, "---\n");
    if (hub || !copy_block(s, yaml, "base_model")) {
        str_adds(s, "base_model: ");
        add_yaml_string(s, hub ? hub : name);
        str_addc(s, '\n');
    }
    if (c->quantized)
        str_adds(s, "base_model_relation: quantized\n");
    for (i = 0; i < sizeof keep / sizeof *keep; i++)
        copy_block(s, yaml, keep[i]);
    if (!copy_block(s, yaml, "library_name"))
        str_adds(s, "library_name: transformers\n");
    str_addf(s, "tags:\n- moe\n- moe-tools\n- %s\n---\n", c->tag);
}

int card_write(const struct card *c, const char *dir, struct err *e)
{
    char *yaml = front_matter(c->m, e), *hub = hub_id(c->m->dir, e), *name = dir_name(c->m->dir, e);
    char *path = path_join(dir, "README.md", e), *base = path_join(dir, "README.base.md", e);
    char *title = mem_strdup(c->out, e);
    struct str s = {0};
    size_t n;
    int r = -1;

    if (!yaml || !name || !path || !base || !title)
        goto done;
    for (n = strlen(title); n > 1 && title[n - 1] == '/'; n--)
        title[n - 1] = 0;
    add_yaml(&s, c, yaml, hub, name);
    str_addf(&s, "\n# %s\n\nMade from %s", path_base(title), hub ? hub : name);
    if (c->m->revision)
        str_addf(&s, " (revision %s)", c->m->revision);
    str_addf(&s, " with moe-tools. %s", c->body);
    if (c->command)
        str_addf(&s, "\n## Command\n\n```sh\n%s\n```\n", c->command);
    if (path_exists(base))
        str_adds(&s, "\nThe card of the model that this one was made from is in README.base.md.\n");
    r = only_utf8(&s, e) ? -1 : file_write(path, s.p, s.n, false, e);
done:
    free(yaml);
    free(hub);
    free(name);
    free(path);
    free(base);
    free(title);
    str_free(&s);
    return r;
}
