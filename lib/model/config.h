/*
 * config.h -- reading config.json with the difference between absent and null; private to lib/model.
 */
#ifndef MOE_MODEL_CONFIG_H
#define MOE_MODEL_CONFIG_H

#include "model/family.h"

enum { MAX_DIM = 1 << 24 }; /* of any size that config.json gives */

struct config {
    const cJSON *obj;
    const char *what; /* path, for messages */
    struct err *e;    /* sticky: readers return the default after a failure */
};

const cJSON *config_get(const struct config *c, const char *key); /* NULL: absent */
bool config_has(const struct config *c, const char *key);         /* present, null included */
bool config_null(const struct config *c, const char *key);        /* present and null */
/* Whole number in [min, max]; absent or null gives absent_value; an absent_value < min means that the key is
 * required. */
int config_int(struct config *c, const char *key, int min, int max, int absent_value);
double config_double(struct config *c, const char *key, double min, double max, double absent_value);
bool config_bool(struct config *c, const char *key, bool absent_value);
/* NULL if absent or null; another type than a string is an error. */
const char *config_string(struct config *c, const char *key);
/* Is value in the list of numbers under key (absent: no)? */
bool config_list_has(struct config *c, const char *key, int value);

/* keys.c: is v the value that the text says: true, false, null, a number or a string without quotes? */
bool config_value_is(const cJSON *v, const char *text);
/* keys.c: every key is understood, here and in the rope dictionary. wrapper: what text stands in, or NULL. */
void keys_check(struct config *text, const struct config *wrapper, const struct family *f,
                const struct arch_options *o);

/* The rope dictionary in force: rope_scaling if it is a non-empty object, else rope_parameters, else NULL. */
const cJSON *rope_dictionary(struct config *c);
/* rope.c: the rope dictionary of either transformers version and the frequencies, computed in f32 as
 * transformers does. rotated: dimensions of a head that rope could turn. Which of a->rope it is, added if
 * there is none of these numbers yet; -1 with c->e set. */
int rope_read(struct arch *a, struct config *c, int rotated);

/* indexer.c: which layers have an indexer, and a->longest. */
void indexer_read(struct arch *a, struct config *c);

/* layer_kinds.c: which layers have experts, which mixer and mask each has, and whether it has rope (0 until
 * its mixer reads which). Sets a->layer, moe_layers, dense_inter. */
void layers_read(struct arch *a, struct config *c);

#endif
