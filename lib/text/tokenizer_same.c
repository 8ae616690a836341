/*
 * tokenizer_same.c -- whether two folders' tokenizers are the same, of whatever kind their files are: what
 * was made of the files is compared, and of what configures it the tokens alone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "text/tokenizer_parts.h"

/* ---- tokens: what each id spells, in any order ---- */

struct told {
    uint64_t tokens[2];   /* a sum of digests */
    char order[HASH_HEX]; /* of the tokens that two others become, in the order of their ranks */
    char pairs[HASH_HEX]; /* of which two; "": any that spell it, by rank */
};

static int tell_token(struct told *t, const char *text, size_t n, int32_t id, struct err *e)
{
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

/* A token of bytes is told in the byte alphabet. */
static int tell_vocabulary(struct told *t, const struct tokenizer *k, struct err *e)
{
    const struct map *vocab = &k->bpe.vocab;
    struct str mapped = {0};
    char ch[2];
    size_t i, j;
    int bad = 0;

    for (i = 0; i < vocab->n && !bad; i++) {
        const char *text = map_key(vocab, i);
        size_t n = vocab->entry[i].len;

        str_clear(&mapped);
        for (j = 0; k->bpe.raw && j < n; j++)
            str_add(&mapped, ch, bpe_byte((unsigned char)text[j], ch));
        bad = str_ok(&mapped, e) || tell_token(t, k->bpe.raw ? mapped.p : text, k->bpe.raw ? mapped.n : n,
                                               vocab->entry[i].value, e);
    }
    for (i = 0; i < k->added_id.n && !bad; i++) {
        const char *text = map_key(&k->added_id, i);
        int32_t id = k->added_id.entry[i].value;

        if (map_find(vocab, text, k->added_id.entry[i].len) != id)
            bad = tell_token(t, text, k->added_id.entry[i].len, id, e);
    }
    str_free(&mapped);
    return bad;
}

/* ---- merges ---- */

static int by_rule_rank(const void *a, const void *b)
{
    const struct bpe_rule *x = a, *y = b;

    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* Two ranked tokens spell it. */
static bool is_merged(const struct bpe *b, const char *text, size_t n)
{
    int32_t left, right;
    size_t i;

    for (i = 1; i < n; i++) {
        left = map_find(&b->vocab, text, i);
        right = left < 0 ? -1 : map_find(&b->vocab, text + i, n - i);
        if (right >= 0 && (size_t)left < b->ranks && (size_t)right < b->ranks && b->rank[left] >= 0 &&
            b->rank[right] >= 0)
            return true;
    }
    return false;
}

/* The rules in their order or, by rank, one for each token that is merged; *n of them, to be freed. */
static struct bpe_rule *rules_of(const struct bpe *b, size_t *n, struct err *e)
{
    struct bpe_rule *list = mem_new(b->rank ? b->vocab.n : b->rules, sizeof *list, e);
    size_t i;

    *n = 0;
    for (i = 0; list && b->rank && i < b->vocab.n; i++) {
        int32_t id = b->vocab.entry[i].value;

        if ((size_t)id < b->ranks && b->rank[id] >= 0 &&
            is_merged(b, map_key(&b->vocab, i), b->vocab.entry[i].len))
            list[(*n)++] = (struct bpe_rule){.rank = (uint32_t)b->rank[id], .id = id};
    }
    for (i = 0; list && !b->rank && b->rule && i <= b->rule_mask && *n < b->rules; i++)
        if (b->rule[i].pair != UINT64_MAX)
            list[(*n)++] = b->rule[i];
    if (*n)
        qsort(list, *n, sizeof *list, by_rule_rank);
    return list;
}

static int tell_merges(struct told *t, const struct tokenizer *k, struct err *e)
{
    size_t n, i;
    struct bpe_rule *list = rules_of(&k->bpe, &n, e);
    bool *seen = mem_new((size_t)k->size, sizeof *seen, e);
    struct hash *order = hash_new(e), *pairs = hash_new(e);
    int bad = list && seen && order && pairs ? 0 : -1;

    for (i = 0; i < n && !bad; i++) {
        hash_add(pairs, &list[i].pair, sizeof list[i].pair);
        if (!seen[list[i].id])
            hash_add(order, &list[i].id, sizeof list[i].id);
        seen[list[i].id] = true;
    }
    if (!bad) {
        hash_hex(order, t->order);
        hash_hex(pairs, t->pairs);
    }
    if (k->bpe.rank)
        *t->pairs = 0;
    if (order)
        hash_free(order);
    if (pairs)
        hash_free(pairs);
    free(list);
    free(seen);
    return bad;
}

/* ---- rules ---- */

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_added(const struct added_set *a, const struct added_set *b)
{
    size_t i;

    for (i = 0; a->n == b->n && i < a->n; i++) {
        const struct added_token *x = &a->token[i], *y = &b->token[i];

        if (x->n != y->n || memcmp(x->content, y->content, x->n) != 0 || x->id != y->id ||
            x->single_word != y->single_word || x->lstrip != y->lstrip || x->rstrip != y->rstrip)
            return false;
    }
    return a->n == b->n;
}

static bool same_normalizer(const struct normalizer *a, const struct normalizer *b)
{
    int i;

    for (i = 0; a->steps == b->steps && i < a->steps; i++)
        if (a->step[i].kind != b->step[i].kind || !same_text(a->step[i].what, b->step[i].what) ||
            !same_text(a->step[i].with, b->step[i].with))
            return false;
    return a->steps == b->steps;
}

static bool same_splitter(const struct splitter *a, const struct splitter *b)
{
    int i;

    for (i = 0; a->levels == b->levels && i < a->levels; i++) {
        const struct split_level *x = &a->level[i], *y = &b->level[i];

        if (!same_text(x->pattern, y->pattern) || x->literal != y->literal || x->removed != y->removed ||
            x->invert != y->invert || strcmp(x->mark, y->mark) != 0 || x->prepend != y->prepend ||
            x->cuts != y->cuts)
            return false;
    }
    return a->levels == b->levels && a->byte_level == b->byte_level;
}

static bool same_rules(const struct tokenizer *a, const struct tokenizer *b)
{
    const struct bpe *x = &a->bpe, *y = &b->bpe;
    /* Of ranks, those of a whole token are the last: what is one is found in any case. */
    bool merged_alike = !x->rank != !y->rank || x->ignore_merges == y->ignore_merges;

    return x->byte_level == y->byte_level && x->byte_fallback == y->byte_fallback &&
           x->fuse_unk == y->fuse_unk && x->unk == y->unk && x->unk_absent == y->unk_absent && merged_alike &&
           same_added(&a->raw, &b->raw) && same_added(&a->normalized, &b->normalized) &&
           same_normalizer(&a->normalizer, &b->normalizer) && same_splitter(&a->splitter, &b->splitter);
}

/* ---- the whole ---- */

static int same_tokenizers(const struct tokenizer *a, const struct tokenizer *b, struct err *e)
{
    struct told x = {.tokens = {0}}, y = {.tokens = {0}};

    if (!same_rules(a, b))
        return 0;
    if (tell_vocabulary(&x, a, e) || tell_merges(&x, a, e) || tell_vocabulary(&y, b, e) ||
        tell_merges(&y, b, e))
        return -1;
    return memcmp(x.tokens, y.tokens, sizeof x.tokens) == 0 && strcmp(x.order, y.order) == 0 &&
           (!*x.pairs || !*y.pairs || strcmp(x.pairs, y.pairs) == 0);
}

/* Without config, whose BOS is no part of what ids mean, as that of the rules is not. */
static int open_alone(struct tokenizer **t, struct tokenizer_source *s, struct err *e)
{
    cJSON *config = s->config;
    int r;

    s->config = NULL;
    r = tokenizer_open(t, s, e);
    s->config = config;
    return r;
}

static bool same_tree(const cJSON *a, const cJSON *b)
{
    return a == b || (a && b && cJSON_Compare(a, b, true));
}

int tokenizer_same(const char *dir_a, const char *dir_b, struct err *e)
{
    struct tokenizer_source a, b;
    struct tokenizer *x = NULL, *y = NULL;
    int r = -1;

    if (tokenizer_folder(&a, dir_a, e))
        return -1;
    if (tokenizer_folder(&b, dir_b, e) == 0) {
        if (strcmp(a.digest, b.digest) == 0 && same_tree(a.added, b.added) &&
            same_tree(a.splitter, b.splitter))
            r = 1;
        else if (open_alone(&x, &a, e) == 0 && open_alone(&y, &b, e) == 0)
            r = same_tokenizers(x, y, e);
        tokenizer_close(x);
        tokenizer_close(y);
        b.close(&b);
    }
    a.close(&a);
    return r;
}
