/* locate.c -- a directory as it is, or the snapshot of the hub's cache. */
#include "model/locate.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/words.h"
#include "base/mem.h"

/* The hub cache's folder; the caller frees. */
static char *hub_cache(struct err *e)
{
    const char *v;

    if ((v = getenv("HF_HUB_CACHE")) && *v)
        return mem_strdup(v, e);
    if ((v = getenv("HF_HOME")) && *v)
        return path_join(v, "hub", e);
    if ((v = getenv("XDG_CACHE_HOME")) && *v)
        return path_join(v, "huggingface/hub", e);
    v = getenv("HOME");
    return path_join(v && *v ? v : ".", ".cache/huggingface/hub", e);
}

static bool has_file(const char *dir, const char *name)
{
    char *p = path_join(dir, name, NULL);
    bool yes = p && path_exists(p);

    free(p);
    return yes;
}

/* The first digits of a commit hash, which is what a snapshot folder is called. */
static bool is_commit(const char *s)
{
    size_t n = strspn(s, "0123456789abcdef");

    return n >= 4 && !s[n];
}

/* Of the cached snapshots the one whose name begins so; the caller frees. */
static char *whole_commit(const char *repo, const char *begin, struct err *e)
{
    char *dir = path_join(repo, "snapshots", e), **name = NULL, *found = NULL;
    size_t n = 0, i, len = strlen(begin);
    int hits = 0;

    if (dir && dir_list(dir, &name, &n, e) == 0) {
        for (i = 0; i < n; i++)
            if (strncmp(name[i], begin, len) == 0 && ++hits == 1)
                found = mem_strdup(name[i], e);
        if (hits != 1) {
            err_set(e, ERR_INPUT, "'%s' has %s snapshot whose commit begins with '%s'", repo,
                    hits ? "more than one" : "no", begin);
            free(found);
            found = NULL;
        }
    }
    dir_free(name, n);
    free(dir);
    return found;
}

/* What a file in refs/ says. */
static char *commit_of_ref(const char *ref, struct err *e)
{
    char *text;
    size_t n;

    if (file_read(ref, 4096, &text, &n, e))
        return NULL;
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = 0;
    if (*text && !strchr(text, '/'))
        return text;
    err_set(e, ERR_INPUT, "'%s' does not name a snapshot", ref);
    free(text);
    return NULL;
}

/* The commit that revision means: a branch, tag or pull request under refs/, or a commit by its first digits.
 */
static char *find_commit(const char *repo, const char *revision, struct err *e)
{
    char *ref = mem_printf(e, "%s/refs/%s", repo, revision), *commit = NULL;

    if (!ref)
        return NULL;
    if (path_exists(ref) && !path_is_dir(ref))
        commit = commit_of_ref(ref, e);
    else if (is_commit(revision))
        commit = whole_commit(repo, revision, e);
    else
        err_set(e, ERR_INPUT, "'%s' has no revision '%s' (looked for %s)", repo, revision, ref);
    free(ref);
    return commit;
}

/* repo is a "models--ORG--NAME" folder: the snapshot that revision means. */
static int snapshot(const char *repo, const char *revision, const char *what_file, char **dir, char **commit,
                    struct err *e)
{
    char *name = find_commit(repo, revision, e);
    char *snap = name ? mem_printf(e, "%s/snapshots/%s", repo, name) : NULL;

    if (snap && has_file(snap, what_file)) {
        *dir = snap;
        *commit = name;
        return 0;
    }
    if (snap)
        err_set(e, ERR_INPUT, "'%s' has no %s: is the download complete?", snap, what_file);
    free(snap);
    free(name);
    return -1;
}

/* "ORG/NAME" or "ORG/NAME@REVISION" in the hub cache. */
static int from_hub(const char *arg, const char *what_file, char **dir, char **commit, struct err *e)
{
    const char *slash = strchr(arg, '/'), *at = strchr(arg, '@');
    char *cache = hub_cache(e), *repo = NULL;
    int name_n = (int)(at ? (size_t)(at - slash - 1) : strlen(slash + 1)), r = -1;

    if (cache)
        repo = mem_printf(e, "%s/models--%.*s--%.*s", cache, (int)(slash - arg), arg, name_n, slash + 1);
    if (repo && !path_is_dir(repo))
        err_set(e, ERR_INPUT,
                "no model '%s': it is neither a directory nor in the hub cache (%s); download it there first "
                "(hf download %.*s), or set HF_HUB_CACHE",
                arg, cache, at ? (int)(at - arg) : (int)strlen(arg), arg);
    else if (repo)
        r = snapshot(repo, at ? at + 1 : "main", what_file, dir, commit, e);
    free(cache);
    free(repo);
    return r;
}

/* ORG/NAME, and behind an @ a revision, which may have slashes too. */
static bool is_hub_id(const char *arg)
{
    size_t n = strcspn(arg, "@"), org = strcspn(arg, "/");

    return org > 0 && org + 1 < n && !memchr(arg + org + 1, '/', n - org - 1) && arg[0] != '.';
}

/* A path that may be there, but cannot be looked at. */
static int check_access(const char *arg, struct err *e)
{
    struct stat st;

    return stat(arg, &st) && errno != ENOENT && errno != ENOTDIR ? err_sys(e, "cannot look at '%s'", arg) : 0;
}

/* The first GGUF file in it, which is a model by itself; NULL: there is none. The caller frees. */
static char *gguf_in(const char *dir)
{
    char **name = NULL, *found = NULL;
    size_t n = 0, i;

    if (dir_list(dir, &name, &n, NULL))
        return NULL;
    for (i = 0; i < n && !found; i++)
        if (ends_with(name[i], ".gguf"))
            found = mem_strdup(name[i], NULL);
    dir_free(name, n);
    return found;
}

/* Of a directory without what_file: why. Always -1. */
static int has_none(const char *dir, const char *what_file, struct err *e)
{
    char *path = path_join(dir, what_file, e), *gguf = gguf_in(dir);
    struct stat st;

    if (path && check_access(path, e) == 0) {
        if (lstat(path, &st) == 0)
            err_set(e, ERR_INPUT, "'%s' links to a file that is not there: is the download complete?", path);
        else
            err_set(e, ERR_INPUT,
                    gguf ? "'%s' has no %s: a GGUF file is a model by itself, give '%s/%s'"
                         : "'%s' has no %s",
                    dir, what_file, dir, gguf);
    }
    free(path);
    free(gguf);
    return -1;
}

int model_locate(const char *arg, const char *what_file, char **dir, char **revision, struct err *e)
{
    char *snapshots;
    bool is_repo;

    *dir = *revision = NULL;
    if (path_is_dir(arg)) {
        if (has_file(arg, what_file)) {
            *dir = mem_strdup(arg, e);
            return *dir ? 0 : -1;
        }
        snapshots = path_join(arg, "snapshots", e);
        is_repo = snapshots && path_is_dir(snapshots);
        free(snapshots);
        if (is_repo)
            return snapshot(arg, "main", what_file, dir, revision, e);
        return has_none(arg, what_file, e);
    }
    if (path_exists(arg))
        return err_set(
            e, ERR_INPUT,
            "'%s' is a file, but not a GGUF file: a model is that, a directory with %s, or a hub id", arg,
            what_file);
    if (is_hub_id(arg))
        return from_hub(arg, what_file, dir, revision, e);
    if (check_access(arg, e))
        return -1;
    return err_set(e, ERR_INPUT,
                   "no model '%s': there is no such directory, and a hub id looks like ORG/NAME", arg);
}
