/* inputs.c -- the files that are read, and those that are going to be replaced */
#include "base/inputs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

/* Directories below a model's own: as deep as anybody's are, and no walk through a whole disk. */
enum { MODEL_DEPTH = 4 };

struct id {
    dev_t dev;
    ino_t ino;
    int uses;   /* how often it was opened and not released */
    char *path; /* of an output, as it was named */
};

struct ids {
    struct id *id;
    size_t n, cap;
};

/* Of the whole process, as files are. */
static struct {
    pthread_mutex_t lock;
    struct ids inputs, outputs, own; /* own: of the process, though in a model's directory */
    char **dir;                      /* of models */
    size_t dirs, dirs_cap;
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct id *inputs_find(const struct ids *s, const struct stat *st)
{
    size_t i;

    for (i = 0; i < s->n; i++)
        if (s->id[i].ino == st->st_ino && s->id[i].dev == st->st_dev && s->id[i].uses > 0)
            return &s->id[i];
    return NULL;
}

static struct id *append(struct ids *s, const struct stat *st, struct err *e)
{
    if (mem_grow(&s->id, &s->cap, s->n + 1, sizeof *s->id, e))
        return NULL;
    s->id[s->n] = (struct id){.dev = st->st_dev, .ino = st->st_ino, .uses = 1};
    return &s->id[s->n++];
}

static int inputs_refuse(const char *path, struct err *e)
{
    return err_set(e, ERR_USAGE, "'%s' is one of the inputs: choose another name for the output", path);
}

/* What walk() does with a regular file; other than 0 ends the walk. */
typedef int visit(void *ctx, const struct stat *st, struct err *e);

/*
 * Visits the regular files in dir and below. The links of a model's directory are followed (the hub's cache
 * is made of them), those below an output are not: to remove it only removes the links. What cannot be listed
 * holds none.
 */
static int walk(const char *dir, int depth, bool follow, visit *v, void *ctx, struct err *e)
{
    char **name;
    size_t n, i;
    int r = 0;

    if (dir_list(dir, &name, &n, NULL))
        return 0;
    for (i = 0; i < n && !r; i++) {
        char *p = path_join(dir, name[i], e);
        struct stat st;

        if (!p)
            r = -1;
        else if (follow ? stat(p, &st) : lstat(p, &st))
            ; /* a link to nothing, or gone */
        else if (S_ISREG(st.st_mode))
            r = v(ctx, &st, e);
        else if (S_ISDIR(st.st_mode) && depth > 0)
            r = walk(p, depth - 1, follow, v, ctx, e);
        free(p);
    }
    dir_free(name, n);
    return r;
}

static int visit_add(void *ctx, const struct stat *st, struct err *e)
{
    return inputs_find(&known.own, st) || append(ctx, st, e) ? 0 : -1;
}

/* The one in the set, if any. */
struct search {
    const struct ids *set;
    const struct id *found;
};

static int visit_find(void *ctx, const struct stat *st, struct err *e)
{
    struct search *s = ctx;

    (void)e;
    s->found = inputs_find(s->set, st);
    return s->found ? 1 : 0;
}

int input_add(int fd, struct err *e)
{
    const struct id *out;
    struct id *id;
    struct stat st;
    int r = 0;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return 0; /* what is wrong with it shows when it is read */
    pthread_mutex_lock(&known.lock);
    out = inputs_find(&known.outputs, &st);
    id = inputs_find(&known.inputs, &st);
    if (out)
        r = inputs_refuse(out->path, e);
    else if (id)
        id->uses++;
    else
        r = append(&known.inputs, &st, e) ? 0 : -1;
    pthread_mutex_unlock(&known.lock);
    return r;
}

void input_release(const char *path)
{
    struct id *id;
    struct stat st;

    if (stat(path, &st))
        return;
    pthread_mutex_lock(&known.lock);
    id = inputs_find(&known.inputs, &st);
    if (id)
        id->uses--;
    pthread_mutex_unlock(&known.lock);
}

static int own(const struct stat *st, struct err *e)
{
    int r;

    pthread_mutex_lock(&known.lock);
    r = inputs_find(&known.own, st) || append(&known.own, st, e) ? 0 : -1;
    pthread_mutex_unlock(&known.lock);
    return r;
}

int input_made(int fd, struct err *e)
{
    struct stat st;

    return fstat(fd, &st) ? 0 : own(&st, e);
}

int input_own(const char *path, struct err *e)
{
    struct stat st;

    input_release(path);
    return stat(path, &st) ? 0 : own(&st, e);
}

static int remember(const char *dir, struct err *e)
{
    char *copy;

    if (mem_grow(&known.dir, &known.dirs_cap, known.dirs + 1, sizeof *known.dir, e) ||
        !(copy = mem_strdup(dir, e)))
        return -1;
    known.dir[known.dirs++] = copy;
    return 0;
}

int input_dir(const char *dir, struct err *e)
{
    struct search s = {.set = &known.outputs};
    int r;

    pthread_mutex_lock(&known.lock);
    r = remember(dir, e);
    if (!r && known.outputs.n && walk(dir, MODEL_DEPTH, true, visit_find, &s, e))
        r = s.found ? inputs_refuse(s.found->path, e) : -1;
    pthread_mutex_unlock(&known.lock);
    return r;
}

void input_dir_release(const char *dir)
{
    size_t i;

    pthread_mutex_lock(&known.lock);
    for (i = 0; i < known.dirs; i++)
        if (strcmp(known.dir[i], dir) == 0) {
            free(known.dir[i]);
            known.dir[i] = known.dir[--known.dirs];
            break;
        }
    pthread_mutex_unlock(&known.lock);
}

int input_forbid(const char *path, struct err *e)
{
    struct stat st;
    struct id *id;
    int r = 0;

    if (lstat(path, &st) || !S_ISREG(st.st_mode))
        return 0;
    pthread_mutex_lock(&known.lock);
    id = append(&known.outputs, &st, e);
    if (!id || !(id->path = mem_strdup(path, e)))
        r = -1;
    pthread_mutex_unlock(&known.lock);
    return r;
}

/* All files that are read, or lie in a model's directory; to be freed. */
static int all_inputs(struct ids *all, struct err *e)
{
    size_t i;

    for (i = 0; i < known.inputs.n; i++) {
        const struct id *id = &known.inputs.id[i];

        if (mem_grow(&all->id, &all->cap, all->n + 1, sizeof *all->id, e))
            return -1;
        all->id[all->n++] = *id;
    }
    for (i = 0; i < known.dirs; i++)
        if (walk(known.dir[i], MODEL_DEPTH, true, visit_add, all, e))
            return -1;
    return 0;
}

int input_refuse(const char *path, struct err *e)
{
    struct ids all = {0};
    struct search s = {.set = &all};
    struct stat st;
    int r;

    if (lstat(path, &st))
        return 0;
    pthread_mutex_lock(&known.lock);
    r = all_inputs(&all, e);
    pthread_mutex_unlock(&known.lock);
    if (!r && S_ISREG(st.st_mode))
        r = inputs_find(&all, &st) ? inputs_refuse(path, e) : 0;
    else if (!r && S_ISDIR(st.st_mode) && walk(path, INT32_MAX, false, visit_find, &s, e))
        r = s.found ? err_set(e, ERR_USAGE,
                              "'%s' holds one of the inputs: choose another name for the output", path)
                    : -1;
    free(all.id);
    return r;
}
