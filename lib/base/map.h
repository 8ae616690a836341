/*
 * map.h -- strings to numbers, by hash. Keys are bytes of any kind; they are numbered in the order in which
 * they were added, and nothing depends on the order of hashes.
 */
#ifndef MOE_BASE_MAP_H
#define MOE_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Start from {0}. Open addressing; 4 GB of keys at most. */
struct map {
    char *text; /* all keys end to end, each with a NUL behind it */
    size_t text_n, text_cap;
    struct map_entry {
        uint32_t off, len, hash;
        int32_t value;
    } * entry; /* [n] in the order of adding */
    size_t n, cap;
    uint32_t *slot; /* [mask + 1] index of an entry + 1, 0: free */
    size_t mask;
};
/* value >= 0. A key that is already there gets the new value. */
int map_set(struct map *m, const char *key, size_t n, int32_t value, struct err *e);
int32_t map_find(const struct map *m, const char *key, size_t n); /* -1: absent */
/* The i-th key that was added; valid until the next one is. */
const char *map_key(const struct map *m, size_t i);
void map_free(struct map *m);

#endif
