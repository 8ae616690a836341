/*
 * config.h -- reading config.json with the difference between absent and null; private to lib/model.
 */
#ifndef MOE_MODEL_CONFIG_H
#define MOE_MODEL_CONFIG_H

#include "model/family.h"

struct config {
    const cJSON *obj;
    const char *what; /* path, for messages */
    struct err *e;    /* sticky: readers return the default after a failure */
};

bool config_has(const struct config *c, const char *key);  /* present, null included */
bool config_null(const struct config *c, const char *key); /* present and null */
/* Whole number in [min, max]; absent (or null, where null_is_absent) gives absent_value; absent_value < min
 * means that the key is required. */
int config_int(struct config *c, const char *key, int min, int max, int absent_value);
double config_double(struct config *c, const char *key, double min, double max, double absent_value);
bool config_bool(struct config *c, const char *key, bool absent_value);
/* NULL if absent or null; another type than a string is an error. */
const char *config_string(struct config *c, const char *key);

/* rope.c: the rope dictionary of either transformers version (architectures 1.1 item 6) and the
 * frequencies (1.5), computed in f32 as transformers does. */
int rope_read(struct rope *r, struct config *c, const struct family *f, int head_dim, int max_position);

#endif
