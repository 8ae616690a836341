/*
 * container_rows.h -- the containers; private to lib/model.
 */
#ifndef MOE_MODEL_CONTAINER_CONTAINER_ROWS_H
#define MOE_MODEL_CONTAINER_CONTAINER_ROWS_H

#include "model/container.h"

/* The file that says which tensor is in which shard. */
#define ST_INDEX  "model.safetensors.index.json"
#define ST_SINGLE "model.safetensors"

/* As they are tried. ROW(x) is container_x. */
#define CONTAINERS(ROW)     ROW(gguf) ROW(safetensors) /* the latter: st_folder.c */
#define CONTAINER_ROW(name) extern const struct container container_##name;
CONTAINERS(CONTAINER_ROW)
#undef CONTAINER_ROW
extern const struct container_writer_ops st_folder_writer, gguf_writer;

/* The metadata of one shard. */
const struct st_file *st_folder_file(const struct checkpoint *c, int shard);

#endif
