/*
 * container.h -- what tensors, configuration and metadata of a model lie in: a row each.
 *
 * A container is a file in lib/model/container/ for reading, one for writing, and an entry of
 * container_table(). What is its own stays inside these: the order of dimensions, alignment, how a file is
 * split, how tensors and configuration are spelled. The rest of the house sees struct checkpoint and calls
 * the writer below.
 */
#ifndef MOE_MODEL_CONTAINER_H
#define MOE_MODEL_CONTAINER_H

#include "model/checkpoint.h"

enum { CONTAINER_HEAD = 64 };

struct container {
    const char *name; /* "safetensors" */
    /* The model is a folder with a config.json, and tokenizer, licence and other files in it belong to it. If
     * not, it is written as one file. */
    bool folder;
    /* Is it one of these? By what is in it, never by a suffix: head has the file's first n bytes (at most
     * CONTAINER_HEAD), a folder has none (n 0). */
    bool (*is)(const char *path, const uint8_t *head, size_t n);
    /* Sets c->own; c->dir is the path. On failure close is called all the same. */
    int (*open)(struct checkpoint *c, struct err *e);
    /* As checkpoint_config, checkpoint_tensors and checkpoint_meta say. */
    int (*config)(const struct checkpoint *c, char **text, size_t *n, char **what, struct err *e);
    /* Fills shard, shard_name, shards, has_index and calls checkpoint_take for each file's tensors, whose
     * names it has translated, then checkpoint_sort. */
    int (*tensors)(struct checkpoint *c, const struct arch *a, bool partial, struct err *e);
    const char *(*meta)(const struct checkpoint *c, const char *key);
    /* What is right in itself, but runtimes that this container is for refuse or fail on: a line each. NULL:
     * nothing is known. */
    void (*limits)(const struct checkpoint *c, void (*say)(void *ctx, const char *line), void *ctx);
    /* What lies in c->own and what the shards point to. */
    void (*close)(struct checkpoint *c);
    const struct container_writer_ops *writer;
};

/* All containers, NULL-terminated. The last one takes every folder and says what it misses there. */
const struct container *const *container_table(void);
/* The one that path is, or NULL (not there, or of another kind). containers: NULL: container_table(). */
const struct container *container_of(const char *path, const struct container *const *containers);

/* ---- for readers ---- */

/* Tensors of shard c->shards - 1, which stay where they are until close. */
int checkpoint_take(struct checkpoint *c, struct tensor *t, size_t n, struct err *e);
/* By name; refuses a name that is there twice. */
int checkpoint_sort(struct checkpoint *c, struct err *e);

/* ---- writing ---- */

/*
 * A new checkpoint in the container of an old one, whose metadata go along:
 *
 *     w.like, tensor, n, meta, n_meta set
 *     container_sizes(&w, e)              from here on all sizes are known to the byte
 *     w.config set
 *     container_create(&w, path, e)       the folder, which is there, or the file, which is replaced
 *     container_next(&w, i, e)            for each tensor in turn, then its bytes by
 *     container_put, container_copy
 *     container_finish(&w, e)
 *     container_close_writer(&w)          always
 */
struct container_meta {
    const char *key, *text;
};

struct container_writer {
    const struct checkpoint *like;
    /* In the order in which they are written; shard is the file of `like` whose place the tensor's file
     * takes, and does not decrease. begin and size are set by container_sizes. */
    struct tensor *tensor;
    size_t n;
    const struct container_meta *meta; /* [n_meta] instead of the old ones with these keys */
    size_t n_meta;
    const char *config; /* config.json as text */
    size_t config_n;
    /* Elements of all tensors, as stored and with packed ones counted as the weights that they hold: what a
     * number of parameters among the metadata may count. */
    struct {
        uint64_t stored, logical;
    } before, after;
    uint64_t bytes, tensor_bytes; /* of all files, headers included; of tensors alone */
    int files;
    void *own; /* the container's */
};

struct container_writer_ops {
    int (*sizes)(struct container_writer *w, struct err *e);
    int (*create)(struct container_writer *w, const char *path, struct err *e);
    int (*next)(struct container_writer *w, size_t i, struct err *e);
    int (*put)(struct container_writer *w, const void *p, size_t n, struct err *e);
    int (*copy)(struct container_writer *w, const struct rfile *from, uint64_t off, uint64_t n,
                struct err *e);
    int (*finish)(struct container_writer *w, struct err *e);
    void (*close)(struct container_writer *w);
};

int container_sizes(struct container_writer *w, struct err *e);
int container_create(struct container_writer *w, const char *path, struct err *e);
int container_next(struct container_writer *w, size_t i, struct err *e);
int container_put(struct container_writer *w, const void *p, size_t n, struct err *e);
/* n bytes of tensor `from` of the old checkpoint from its byte `at` on. */
int container_copy(struct container_writer *w, const struct tensor *from, uint64_t at, uint64_t n,
                   struct err *e);
int container_finish(struct container_writer *w, struct err *e);
void container_close_writer(struct container_writer *w); /* removes what was not finished */

#endif
