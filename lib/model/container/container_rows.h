/*
 * container_rows.h -- the containers; private to lib/model.
 */
#ifndef MOE_MODEL_CONTAINER_CONTAINER_ROWS_H
#define MOE_MODEL_CONTAINER_CONTAINER_ROWS_H

#include "model/container.h"

/* The file that says which tensor is in which shard. */
#define ST_INDEX  "model.safetensors.index.json"
#define ST_SINGLE "model.safetensors"

extern const struct container container_safetensors; /* st_folder.c */
extern const struct container_writer_ops st_folder_writer;

/* The metadata of one shard. */
const struct st_file *st_folder_file(const struct checkpoint *c, int shard);

#endif
