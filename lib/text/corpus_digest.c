/* corpus_digest.c -- what the digest of a corpus is made of: named fields, and the bytes of its files. */
#include "text/corpus_digest.h"

#include <stdio.h>

void digest_text(struct hash *h, const char *name, const char *text, size_t n)
{
    char head[80];
    int k = snprintf(head, sizeof head, "%s %zu\n", name, n);

    hash_add(h, head, (size_t)k);
    hash_add(h, text, n);
}

void digest_number(struct hash *h, const char *name, uint64_t v)
{
    char text[24];
    int k = snprintf(text, sizeof text, "%llu", (unsigned long long)v);

    digest_text(h, name, text, (size_t)k);
}

int digest_data(const struct data_file *source, size_t n, char hex[HASH_HEX], struct err *e)
{
    struct hash *h = hash_new(e);
    size_t i;

    if (!h)
        return -1;
    for (i = 0; i < n; i++)
        digest_text(h, "data", source[i].text, source[i].n);
    hash_hex(h, hex);
    hash_free(h);
    return 0;
}
