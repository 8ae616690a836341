/* arena.c -- memory of one template or one rendering: taken piece by piece, freed at once. */
#include "jinja/arena.h"

#include <stdlib.h>

enum { BLOCK = 64 << 10, ALIGN = 16 };

struct arena_block {
    struct arena_block *before;
    size_t n; /* keeps what follows aligned */
};

static int add_block(struct arena *a, size_t n)
{
    size_t size = n > BLOCK ? n : BLOCK;
    struct arena_block *b = malloc(sizeof *b + size);

    if (!b)
        return -1;
    b->before = a->block;
    b->n = size;
    a->block = b;
    a->next = (char *)(b + 1);
    a->left = size;
    return 0;
}

void *arena_get(struct arena *a, size_t n)
{
    void *p;

    if (n > SIZE_MAX - ALIGN)
        return NULL;
    n = (n + (n == 0) + ALIGN - 1) / ALIGN * ALIGN; /* a place even for nothing */
    if (n > a->limit - a->used || (n > a->left && add_block(a, n)))
        return NULL;
    p = a->next;
    a->next += n;
    a->left -= n;
    a->used += n;
    return p;
}

void arena_free(struct arena *a)
{
    while (a->block) {
        struct arena_block *b = a->block;

        a->block = b->before;
        free(b);
    }
    *a = (struct arena){0};
}
