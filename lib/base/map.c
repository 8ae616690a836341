/* map.c -- strings to numbers, by open addressing. */
#include "base/map.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"

static uint32_t *map_slot(const struct map *m, const char *key, size_t n, uint32_t hash)
{
    size_t i = hash & m->mask;

    for (; m->slot[i]; i = (i + 1) & m->mask) {
        const struct map_entry *en = &m->entry[m->slot[i] - 1];

        if (en->hash == hash && en->len == n && memcmp(m->text + en->off, key, n) == 0)
            break;
    }
    return &m->slot[i];
}

static int rehash(struct map *m, struct err *e)
{
    size_t want = m->slot ? 2 * (m->mask + 1) : 64, i;
    uint32_t *slot = mem_new(want, sizeof *slot, e);

    if (!slot)
        return -1;
    free(m->slot);
    m->slot = slot;
    m->mask = want - 1;
    for (i = 0; i < m->n; i++) {
        const struct map_entry *en = &m->entry[i];

        *map_slot(m, m->text + en->off, en->len, en->hash) = (uint32_t)i + 1;
    }
    return 0;
}

int map_set(struct map *m, const char *key, size_t n, int32_t value, struct err *e)
{
    uint32_t hash = (uint32_t)XXH3_64bits(key, n), *slot;

    if ((!m->slot || 2 * m->n > m->mask) && rehash(m, e))
        return -1;
    slot = map_slot(m, key, n, hash);
    if (*slot) {
        m->entry[*slot - 1].value = value;
        return 0;
    }
    if (m->text_n + n >= UINT32_MAX)
        return err_set(e, ERR_INPUT, "more than 4 GB of names");
    if (mem_grow(&m->text, &m->text_cap, m->text_n + n + 1, 1, e) ||
        mem_grow(&m->entry, &m->cap, m->n + 1, sizeof *m->entry, e))
        return -1;
    memcpy(m->text + m->text_n, key, n);
    m->text[m->text_n + n] = '\0';
    m->entry[m->n] = (struct map_entry){(uint32_t)m->text_n, (uint32_t)n, hash, value};
    m->text_n += n + 1;
    *slot = (uint32_t)++m->n;
    return 0;
}

int32_t map_find(const struct map *m, const char *key, size_t n)
{
    uint32_t at;

    if (!m->slot)
        return -1;
    at = *map_slot(m, key, n, (uint32_t)XXH3_64bits(key, n));
    return at ? m->entry[at - 1].value : -1;
}

const char *map_key(const struct map *m, size_t i)
{
    return m->text + m->entry[i].off;
}

void map_free(struct map *m)
{
    free(m->text);
    free(m->entry);
    free(m->slot);
    *m = (struct map){0};
}
