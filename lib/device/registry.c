/* registry.c -- finds, checks and opens backends. */
#include "device/registry.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "contract.h"

enum { PLACES = 2 };
static const char prefix[] = "libmoe-", suffix[] = ".so";

/* Folders that backends may be in. */
struct places {
    char *dir[PLACES];
    int n;
    bool said;   /* by MOE_BACKENDS */
    uid_t owner; /* of the program */
};

static void places_free(struct places *p)
{
    while (p->n > 0)
        free(p->dir[--p->n]);
}

static int place_add(struct places *p, char *dir)
{
    if (!dir)
        return -1;
    p->dir[p->n++] = dir;
    return 0;
}

static int places_of(struct places *p, struct err *e)
{
    const char *said = getenv("MOE_BACKENDS");
    char exe[PATH_MAX], *slash;
    struct stat st;
    ssize_t n;

    *p = (struct places){.said = said && *said};
    if (p->said)
        return place_add(p, mem_strdup(said, e));
    n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0 || stat("/proc/self/exe", &st))
        return 0;
    exe[n] = '\0';
    p->owner = st.st_uid;
    slash = strrchr(exe, '/');
    *slash = '\0';
    if (place_add(p, mem_strdup(exe, e)))
        return -1;
    slash = strrchr(exe, '/');
    if (!slash || strcmp(slash, "/bin") != 0)
        return 0;
    *slash = '\0';
    return place_add(p, mem_printf(e, "%s/lib/moe-tools", exe));
}

/* The file of a kind, to be freed; NULL and no error: there is none. */
static char *object_of(const struct places *p, const char *kind, struct err *e)
{
    struct stat st;
    int i;

    for (i = 0; i < p->n; i++) {
        char *path = mem_printf(e, "%s/%s%s%s", p->dir[i], prefix, kind, suffix);

        if (!path)
            return NULL;
        if (stat(path, &st) == 0) {
            if (p->said || st.st_uid == 0 || st.st_uid == p->owner)
                return path;
            err_set(e, ERR_DEVICE, "'%s' belongs to another user than the program: it is not loaded", path);
        }
        free(path);
    }
    return NULL;
}

static const struct backend *object_load(const char *path, const char *kind, struct err *e)
{
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct backend *b;

    if (!lib) {
        err_set(e, ERR_DEVICE, "the backend cannot be loaded: %s", dlerror());
        return NULL;
    }
    b = dlsym(lib, BACKEND_SYMBOL);
    if (!b)
        err_set(e, ERR_DEVICE, "'%s' is no backend of this version of moe-tools: it has no " BACKEND_SYMBOL,
                path);
    else if (b->contract != MOE_CONTRACT)
        err_set(e, ERR_DEVICE, "'%s' belongs to another build of moe-tools: run make %s", path, kind);
    else if (strcmp(b->kind, kind) != 0)
        err_set(e, ERR_DEVICE, "'%s' is a backend for %s", path, b->kind);
    else
        return b;
    dlclose(lib);
    return NULL;
}

const struct backend *backend_find(const char *kind, bool *found, struct err *e)
{
    const struct backend *b = NULL;
    struct err why = {0};
    struct places p;
    char *path;

    if (found)
        *found = true;
    if (strcmp(kind, cpu_backend.kind) == 0)
        return &cpu_backend;
    path = places_of(&p, &why) ? NULL : object_of(&p, kind, &why);
    if (path)
        b = object_load(path, kind, e);
    else if (why.kind)
        err_set(e, why.kind, "%s", why.msg);
    else
        err_set(e, ERR_DEVICE, "there is no backend %s%s%s in '%s'%s (make cuda builds that for CUDA)",
                prefix, kind, suffix, p.n ? p.dir[0] : ".", p.n > 1 ? " or ../lib/moe-tools" : "");
    if (found)
        *found = path != NULL || why.kind;
    free(path);
    places_free(&p);
    return b;
}

/* ---- which there are ---- */

static int kind_by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct kinds {
    char **kind;
    size_t n, cap;
};

static int kind_add(struct kinds *k, const char *name, size_t length, struct err *e)
{
    size_t i;

    for (i = 0; i < k->n; i++)
        if (strlen(k->kind[i]) == length && memcmp(k->kind[i], name, length) == 0)
            return 0;
    if (mem_grow(&k->kind, &k->cap, k->n + 2, sizeof *k->kind, e))
        return -1;
    k->kind[k->n] = mem_strndup(name, length, e);
    if (!k->kind[k->n])
        return -1;
    k->kind[++k->n] = NULL;
    return 0;
}

static int kinds_in(struct kinds *k, const char *dir, struct err *e)
{
    DIR *d = opendir(dir);
    struct dirent *x;
    int rc = 0;

    while (d && rc == 0 && (x = readdir(d))) {
        size_t n = strlen(x->d_name), ends = sizeof prefix + sizeof suffix - 2;

        if (n > ends && strncmp(x->d_name, prefix, sizeof prefix - 1) == 0 &&
            strcmp(x->d_name + n - (sizeof suffix - 1), suffix) == 0)
            rc = kind_add(k, x->d_name + sizeof prefix - 1, n - ends, e);
    }
    if (d)
        closedir(d);
    return rc;
}

char **backend_kinds(int *n, struct err *e)
{
    struct kinds k = {0};
    struct places p;
    int i, rc = places_of(&p, e);

    for (i = 0; i < p.n && rc == 0; i++)
        rc = kinds_in(&k, p.dir[i], e);
    if (rc == 0 && k.n)
        qsort(k.kind, k.n, sizeof *k.kind, kind_by_name);
    rc = rc || kind_add(&k, cpu_backend.kind, strlen(cpu_backend.kind), e);
    places_free(&p);
    if (rc) {
        backend_kinds_free(k.kind);
        return NULL;
    }
    *n = (int)k.n;
    return k.kind;
}

void backend_kinds_free(char **kinds)
{
    char **k;

    for (k = kinds; k && *k; k++)
        free(*k);
    free(kinds);
}

int backend_open(const struct backend *b, struct device **out, const struct device_options *o, struct err *e)
{
    *out = NULL;
    if (b->count(e) <= 0)
        return -1;
    if (!(b->precisions >> o->precision & 1))
        return err_set(e, ERR_DEVICE, "%s has no products in %s", b->kind, precision_row(o->precision)->name);
    return b->open(out, o, e);
}
