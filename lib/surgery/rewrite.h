/*
 * rewrite.h -- private to surgery: a checkpoint that is being written anew, file for file, in the container
 * of the source (model/container.h).
 *
 *     rewrite_open(&rw, m, meta, n, e)             the metadata that it gets besides its own
 *     rewrite_add(&rw, index, e)                   each tensor, in the order of its file
 *     rewrite_sizes(&rw, e)                        from here on all sizes are known to the byte
 *     rewrite_write(&rw, dir, config, n, put, ctx, e)   put() streams each tensor's bytes
 *     rewrite_free(&rw)
 */
#ifndef MOE_SURGERY_REWRITE_H
#define MOE_SURGERY_REWRITE_H

#include "model/container.h"
#include "model/model.h"

struct out_tensor {
    struct tensor t;           /* name, dtype, shape as written */
    const struct tensor *from; /* of the source */
    const struct tensor_role *role;
    struct quant_map *map; /* for the caller: what it is a piece of, NULL: a copy; and which */
    enum piece_use use;
};

/* What one file of the source becomes; without tensors it is not written. */
struct out_shard {
    struct out_tensor *out;
    size_t n, cap;
};

struct rewrite {
    const struct model *m;
    struct container_writer w; /* its tensors are those of all shards in turn */
    struct out_shard *shard;   /* [m->ckpt.shards] */
    char **name;               /* names made by rewrite_name */
    size_t names, cap_names;
    bool same_weights; /* only their number format changes: as many parameters as before */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *progress_ctx;
    uint64_t done, total; /* bytes, for progress */
};

/* The source's own metadata stay, except for the given keys. meta must live until rewrite_free. */
int rewrite_open(struct rewrite *rw, const struct model *m, const struct container_meta *meta, size_t n,
                 struct err *e);
/* The tensor as it is in the source (name, dtype, shape), to be changed by the caller before the next
 * rewrite_add. NULL: no memory. */
struct out_tensor *rewrite_add(struct rewrite *rw, size_t index, struct err *e);
/* A name that lives as long as rw; takes over text (from mem_printf; NULL gives NULL). */
const char *rewrite_name(struct rewrite *rw, char *text, struct err *e);
/* Indices into m->ckpt.tensor of one shard's tensors, in the order of their data; the caller frees. */
int rewrite_order(const struct model *m, int shard, size_t **index, size_t *n, struct err *e);
/* Sets the sizes in rw->w, and total. */
int rewrite_sizes(struct rewrite *rw, struct err *e);

/* Streams the bytes of one tensor with rewrite_copy and rewrite_bytes. */
typedef int rewrite_put(void *ctx, const struct out_tensor *t, struct err *e);
/* config: config.json of the new model. */
int rewrite_write(struct rewrite *rw, const char *dir, const char *config, size_t config_n, rewrite_put *put,
                  void *ctx, struct err *e);
/* Adds to the bytes done and tells the caller; -1 once a signal came. */
int rewrite_step(struct rewrite *rw, uint64_t bytes, struct err *e);
/* n bytes of a tensor of the source as they are, from its byte `at` on; rewrite_step included. */
int rewrite_copy(struct rewrite *rw, const struct tensor *from, uint64_t at, uint64_t n, struct err *e);
/* n bytes from memory; rewrite_step included. */
int rewrite_bytes(struct rewrite *rw, const void *p, size_t n, struct err *e);
void rewrite_free(struct rewrite *rw);

#endif
