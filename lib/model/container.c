/*
 * container.c -- which container a path is, and the writer's calls.
 */
#include "model/container.h"

#include <fcntl.h>
#include <unistd.h>

#include "model/container/container_rows.h"

#define ENTRY(name) &container_##name,
const struct container *const *container_table(void)
{
    static const struct container *const table[] = {CONTAINERS(ENTRY) NULL};

    return table;
}
#undef ENTRY

/* The first bytes of a file; 0 for a folder, -1 if it cannot be read. */
static ssize_t read_head(const char *path, uint8_t head[CONTAINER_HEAD])
{
    ssize_t n;
    int fd;

    if (path_is_dir(path))
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    n = pread(fd, head, CONTAINER_HEAD, 0);
    close(fd);
    return n > 0 ? n : -1;
}

const struct container *container_of(const char *path, const struct container *const *containers)
{
    const struct container *const *c = containers ? containers : container_table();
    uint8_t head[CONTAINER_HEAD];
    ssize_t n = read_head(path, head);

    for (; n >= 0 && *c; c++)
        if ((*c)->is(path, head, (size_t)n))
            return *c;
    return NULL;
}

/* ---- writing ---- */

static const struct container_writer_ops *ops(const struct container_writer *w)
{
    return w->like->container->writer;
}

int container_sizes(struct container_writer *w, struct err *e)
{
    return ops(w)->sizes(w, e);
}

int container_create(struct container_writer *w, const char *path, struct err *e)
{
    return ops(w)->create(w, path, e);
}

int container_next(struct container_writer *w, size_t i, struct err *e)
{
    return ops(w)->next(w, i, e);
}

int container_put(struct container_writer *w, const void *p, size_t n, struct err *e)
{
    return ops(w)->put(w, p, n, e);
}

int container_copy(struct container_writer *w, const struct tensor *from, uint64_t at, uint64_t n,
                   struct err *e)
{
    return ops(w)->copy(w, w->like->shard[from->shard].file, from->begin + at, n, e);
}

int container_finish(struct container_writer *w, struct err *e)
{
    return ops(w)->finish(w, e);
}

void container_close_writer(struct container_writer *w)
{
    if (w->like)
        ops(w)->close(w);
}
