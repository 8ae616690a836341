/* locate.c -- a directory as it is, or the snapshot of the hub's cache. */
#include "model/locate.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
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

/* A commit hash: what a snapshot folder is called. */
static bool is_commit(const char *s)
{
    size_t n = strspn(s, "0123456789abcdef");

    return n >= 7 && !s[n];
}

/* repo is a "models--ORG--NAME" folder: the snapshot that revision (a branch, tag or commit) means. */
static int snapshot(const char *repo, const char *revision, const char *what_file, char **dir, char **commit,
                    struct err *e)
{
    char *ref = mem_printf(e, "%s/refs/%s", repo, revision), *text = NULL, *snap = NULL;
    size_t n;
    int r = -1;

    if (!ref)
        return -1;
    if (path_exists(ref)) {
        if (file_read(ref, 4096, &text, &n, e))
            goto done;
        while (n && isspace((unsigned char)text[n - 1]))
            text[--n] = 0;
    } else if (is_commit(revision)) {
        text = mem_strdup(revision, e);
    } else {
        err_set(e, ERR_INPUT, "'%s' has no revision '%s' (looked for %s)", repo, revision, ref);
        goto done;
    }
    if (!text || strchr(text, '/') || !*text) {
        err_set(e, ERR_INPUT, "'%s' does not name a snapshot", ref);
        goto done;
    }
    snap = mem_printf(e, "%s/snapshots/%s", repo, text);
    if (!snap)
        goto done;
    if (!has_file(snap, what_file)) {
        err_set(e, ERR_INPUT, "'%s' has no %s: is the download complete?", snap, what_file);
        goto done;
    }
    *dir = snap;
    *commit = text;
    snap = text = NULL;
    r = 0;
done:
    free(ref);
    free(text);
    free(snap);
    return r;
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
        err_set(
            e, ERR_INPUT,
            "no model '%s': it is neither a directory nor in the hub cache (%s); download it there first, "
            "or set HF_HUB_CACHE",
            arg, cache);
    else if (repo)
        r = snapshot(repo, at ? at + 1 : "main", what_file, dir, commit, e);
    free(cache);
    free(repo);
    return r;
}

int model_locate(const char *arg, const char *what_file, char **dir, char **revision, struct err *e)
{
    const char *slash = strchr(arg, '/');
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
        return err_set(e, ERR_INPUT, "'%s' has no %s", arg, what_file);
    }
    if (path_exists(arg))
        return err_set(e, ERR_INPUT, "'%s' is a file: a model is a directory with %s, or a hub id", arg,
                       what_file);
    if (slash && slash != arg && slash[1] && !strchr(slash + 1, '/') && arg[0] != '.')
        return from_hub(arg, what_file, dir, revision, e);
    return err_set(e, ERR_INPUT,
                   "no model '%s': there is no such directory, and a hub id looks like ORG/NAME", arg);
}
