/*
 * rewrite.h -- private to surgery: a checkpoint that is being written anew, shard for shard under the
 * source's file names, with its index.
 *
 *     rewrite_open(&rw, m, keys, values, n, e)     the metadata that every file gets besides its own
 *     rewrite_add(&rw, shard, name, from, e)       each tensor, shard by shard in the order of the file
 *     rewrite_sizes(&rw, e)                        from here on all sizes are known to the byte
 *     rewrite_write(&rw, dir, put, ctx, e)         put() streams each tensor's bytes
 *     rewrite_free(&rw)
 */
#ifndef MOE_SURGERY_REWRITE_H
#define MOE_SURGERY_REWRITE_H

#include "model/model.h"

struct out_tensor {
    struct tensor t;           /* name, dtype, shape as written */
    const struct tensor *from; /* of the source */
    const struct tensor *also; /* a second one it is made from (block scales), or NULL */
    const struct tensor_role *role;
    int op; /* for the caller */
};

struct out_shard {
    const char *file; /* name, as in the source */
    struct out_tensor *out;
    size_t n, cap;
    const char **meta_key, **meta_value; /* [n_meta] */
    size_t n_meta;
    uint64_t bytes; /* header and data; 0: nothing is left of it, it is not written */
};

struct rewrite {
    const struct model *m;
    struct out_shard *shard; /* [m->ckpt.shards] */
    char **name;             /* names made by rewrite_name */
    size_t names, cap_names;
    uint64_t bytes, tensor_bytes; /* of all files, headers included; of tensors alone */
    int files;
    bool same_weights; /* only their number format changes (for the index's total_parameters) */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *progress_ctx;
    uint64_t done, total; /* bytes, for progress */
};

/* The source's own metadata stays, except for the given keys; "format": "pt" is added where it is missing.
 * Keys and values must live until rewrite_free. */
int rewrite_open(struct rewrite *rw, const struct model *m, const char *const *keys,
                 const char *const *values, size_t n, struct err *e);
/* The tensor as it is in the source (name, dtype, shape), to be changed by the caller before the next
 * rewrite_add. NULL: no memory. */
struct out_tensor *rewrite_add(struct rewrite *rw, size_t index, struct err *e);
/* A name that lives as long as rw; takes over text (from mem_printf; NULL gives NULL). */
const char *rewrite_name(struct rewrite *rw, char *text, struct err *e);
/* Indices into m->ckpt.tensor of one shard's tensors, in the order of their data; the caller frees. */
int rewrite_order(const struct model *m, int shard, size_t **index, size_t *n, struct err *e);
/* Sets bytes of all shards, and bytes, tensor_bytes, files and total of rw. */
int rewrite_sizes(struct rewrite *rw, struct err *e);

/* Streams the bytes of one tensor with rewrite_copy, or with st_put and rewrite_step. */
typedef int rewrite_put(void *ctx, struct st_writer *w, const struct out_tensor *t, struct err *e);
int rewrite_write(struct rewrite *rw, const char *dir, rewrite_put *put, void *ctx, struct err *e);
/* Adds to the bytes done and tells the caller; -1 once a signal came. */
int rewrite_step(struct rewrite *rw, uint64_t bytes, struct err *e);
/* n bytes of a tensor of the source as they are, from its byte `at` on; rewrite_step included. */
int rewrite_copy(struct rewrite *rw, struct st_writer *w, const struct tensor *from, uint64_t at, uint64_t n,
                 struct err *e);
void rewrite_free(struct rewrite *rw);

#endif
