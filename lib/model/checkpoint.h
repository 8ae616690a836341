/*
 * checkpoint.h -- all tensors of a model directory, over one file or many.
 *
 * Shard names come from model.safetensors.index.json, never from counting. As in transformers,
 * model.safetensors wins if both are there. Symlinks are followed (hub cache). original/ and metal/ are
 * not looked into.
 */
#ifndef MOE_MODEL_CHECKPOINT_H
#define MOE_MODEL_CHECKPOINT_H

#include "model/safetensors.h"

struct checkpoint {
    char *dir;
    struct st_file *shard; /* [shards] */
    char **shard_name;     /* [shards] file names within dir */
    int shards;
    const struct tensor **tensor; /* [n] of all shards, sorted by name */
    size_t n;
    uint64_t tensor_bytes; /* sum of all tensor sizes */
    bool has_index;
};

/*
 * Refused besides what st_open refuses: no safetensors at all; a shard of the index that is missing; a
 * shard name with a '/' in it; a tensor of the index that is not in its shard; a tensor in a shard that
 * the index does not list; a name in two shards.
 */
int checkpoint_open(struct checkpoint *c, const char *dir, struct err *e);
const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name);
/* Thread-safe. */
int checkpoint_read(const struct checkpoint *c, const struct tensor *t, uint64_t off, void *dst, size_t n,
                    struct err *e);
void checkpoint_close(struct checkpoint *c);

#endif
