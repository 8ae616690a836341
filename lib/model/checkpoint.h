/*
 * checkpoint.h -- all tensors of a model, over one file or many, whatever container they lie in.
 *
 *     checkpoint_open(&c, "qwen3", NULL, e)          which container it is (container.h)
 *     checkpoint_config(&c, &text, &n, &what, e)     config.json, or what stands for it
 *     checkpoint_tensors(&c, &arch, false, e)        from here on tensors can be found and read
 *     checkpoint_close(&c)                           always
 *
 * A tensor's name is spelled as the families' own code does ("model.layers.3.mlp.gate.weight"), its shape is
 * row-major with the outermost dimension first, its place is a range of bytes of a file: nobody above this
 * header need know which container it was.
 */
#ifndef MOE_MODEL_CHECKPOINT_H
#define MOE_MODEL_CHECKPOINT_H

#include "model/safetensors.h"

struct arch;
struct container;

/* One file with tensors. */
struct shard {
    const struct rfile *file; /* the container's */
    uint64_t header_bytes;    /* before the first tensor's */
    size_t n;                 /* tensors in it */
};

struct checkpoint {
    const struct container *container;
    char *dir; /* the folder, or the file, as it was opened */
    struct shard *shard;
    char **shard_name; /* [shards] file names, without their folder */
    int shards;
    int missing;                  /* files that are named but not there (checkpoint_tensors: partial) */
    const struct tensor **tensor; /* [n] of all shards, sorted by name */
    size_t n;
    uint64_t tensor_bytes; /* sum of all tensor sizes */
    bool index_unread;     /* there is an index too, of shards that are not read */
    bool has_index;        /* which tensor is in which file stands in a file of its own */
    void *own;             /* the container's */
};

/* path: a folder or a file. containers: those to choose from, NULL-terminated; NULL: container_table(). */
int checkpoint_open(struct checkpoint *c, const char *path, const struct container *const *containers,
                    struct err *e);
/* The configuration as JSON text and, for messages, the name of the file it is from; the caller frees both.
 */
int checkpoint_config(const struct checkpoint *c, char **text, size_t *n, char **what, struct err *e);
/* a: of the configuration (names may depend on it). partial: files of tensors may be missing; what they would
 * hold is absent. Refused: what the container's own reader refuses, and a name in two files. */
int checkpoint_tensors(struct checkpoint *c, const struct arch *a, bool partial, struct err *e);
/* A text in the metadata; NULL: no such key. */
const char *checkpoint_meta(const struct checkpoint *c, const char *key);
/* Where in tensor[] the names begin that are not before this one. */
size_t checkpoint_from(const struct checkpoint *c, const char *name);
/* Its place in tensor[], or -1. */
ptrdiff_t checkpoint_index(const struct checkpoint *c, const char *name);
/* NULL: absent. */
const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name);
/* Thread-safe. */
int checkpoint_read(const struct checkpoint *c, const struct tensor *t, uint64_t off, void *dst, size_t n,
                    struct err *e);
void checkpoint_close(struct checkpoint *c); /* {0} is harmless */

#endif
