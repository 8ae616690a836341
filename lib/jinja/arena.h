/* arena.h -- memory of one template or one rendering: taken piece by piece, freed at once. */
#ifndef MOE_JINJA_ARENA_H
#define MOE_JINJA_ARENA_H

#include <stddef.h>
#include <stdint.h>

/* Start from {0} with the limit set. */
struct arena {
    struct arena_block *block;
    char *next;
    size_t left;    /* behind next */
    uint64_t used;  /* bytes given out */
    uint64_t limit; /* of them */
};

/* n bytes aligned for any value, not zeroed; NULL: past the limit or out of memory. */
void *arena_get(struct arena *a, size_t n);
void arena_free(struct arena *a);

#endif
