/* tokenizer_same.c -- whether two folders' tokenizers are the same, however they are written. */
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "text/tokenizer.h"
#include "text/tokenizer_source.h"

/* Tokens in any order, merges in theirs: a sum of digests, and a digest of a text. */
struct told {
    uint64_t tokens[2];
    struct hash *merges;
};

static int tell_token(void *ctx, const char *text, size_t n, double id, struct err *e)
{
    struct told *t = ctx;
    struct hash *h = hash_new(e);
    char hex[HASH_HEX];
    size_t i;

    if (!h)
        return -1;
    hash_add(h, &id, sizeof id);
    hash_add(h, text, n);
    hash_hex(h, hex);
    hash_free(h);
    for (i = 0; i < 2; i++) {
        uint64_t part;

        memcpy(&part, hex + i * sizeof part, sizeof part);
        t->tokens[i] += splitmix64(part);
    }
    return 0;
}

static int tell_merge(void *ctx, const char *left, size_t left_n, const char *right, size_t right_n,
                      struct err *e)
{
    struct told *t = ctx;
    uint64_t n[2] = {left_n, right_n};

    (void)e;
    hash_add(t->merges, n, sizeof n);
    hash_add(t->merges, left, left_n);
    hash_add(t->merges, right, right_n);
    return 0;
}

static int tell(struct told *t, const struct tokenizer_source *s, struct err *e)
{
    *t = (struct told){.merges = hash_new(e)};
    return !t->merges || s->tokens(s, tell_token, t, e) || s->merges(s, tell_merge, t, e) ? -1 : 0;
}

static bool same_tree(const cJSON *a, const cJSON *b)
{
    return (!a || cJSON_IsNull(a)) && (!b || cJSON_IsNull(b)) ? true : a && b && cJSON_Compare(a, b, true);
}

static bool same_rules(const struct tokenizer_source *a, const struct tokenizer_source *b)
{
    return strcmp(a->unk ? a->unk : "", b->unk ? b->unk : "") == 0 && a->fuse_unk == b->fuse_unk &&
           a->byte_fallback == b->byte_fallback && a->ignore_merges == b->ignore_merges &&
           same_tree(a->added, b->added) && same_tree(a->normalizer, b->normalizer) &&
           same_tree(a->splitter, b->splitter) && same_tree(a->post, b->post);
}

static int same_sources(const struct tokenizer_source *a, const struct tokenizer_source *b, struct err *e)
{
    struct told x = {0}, y = {0};
    char m[HASH_HEX], n[HASH_HEX];
    int r = -1;

    if (tell(&x, a, e) == 0 && tell(&y, b, e) == 0) {
        hash_hex(x.merges, m);
        hash_hex(y.merges, n);
        r = memcmp(x.tokens, y.tokens, sizeof x.tokens) == 0 && strcmp(m, n) == 0;
    }
    if (x.merges)
        hash_free(x.merges);
    if (y.merges)
        hash_free(y.merges);
    return r;
}

int tokenizer_same(const char *dir_a, const char *dir_b, struct err *e)
{
    struct tokenizer_source a, b;
    int r = -1;

    if (tokenizer_folder(&a, dir_a, e))
        return -1;
    if (tokenizer_folder(&b, dir_b, e) == 0) {
        r = strcmp(a.digest, b.digest) == 0 || (same_rules(&a, &b) ? same_sources(&a, &b, e) : 0);
        b.close(&b);
    }
    a.close(&a);
    return r;
}
