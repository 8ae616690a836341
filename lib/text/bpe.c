/* bpe.c -- merge rules, and one piece of text to ids. */
#include "text/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Recent pieces with their ids, found by hash: natural text repeats its words. 64 bytes an entry. */
enum { CACHE_ENTRIES = 1 << 14, CACHE_TEXT = 26, CACHE_IDS = 7 };
struct bpe_cached {
    uint64_t hash;
    uint8_t len, n; /* len 0: empty */
    char text[CACHE_TEXT];
    int32_t id[CACHE_IDS];
};

int ids_add(struct ids *ids, int32_t id, struct err *e)
{
    if (ids->n == ids->cap && mem_grow(&ids->id, &ids->cap, ids->n + 1, sizeof *ids->id, e))
        return -1;
    ids->id[ids->n++] = id;
    return 0;
}

void ids_free(struct ids *ids)
{
    free(ids->id);
    *ids = (struct ids){0};
}

/* ---- merge rules ---- */

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static struct bpe_rule *rule_slot(const struct bpe *b, uint64_t pair)
{
    size_t i = (size_t)(pair * UINT64_C(0x9e3779b97f4a7c15) >> 32) & b->rule_mask;

    while (b->rule[i].pair != pair && b->rule[i].pair != UINT64_MAX)
        i = (i + 1) & b->rule_mask;
    return &b->rule[i];
}

static const struct bpe_rule *rule_find(const struct bpe *b, int32_t left, int32_t right)
{
    const struct bpe_rule *r;

    if (!b->rule)
        return NULL;
    r = rule_slot(b, pair_of(left, right));
    return r->pair == UINT64_MAX ? NULL : r;
}

static int rules_rehash(struct bpe *b, struct err *e)
{
    size_t old_n = b->rule ? b->rule_mask + 1 : 0, want = old_n ? 2 * old_n : 4096, i;
    struct bpe_rule *old = b->rule, *rule = mem_new(want, sizeof *rule, e);

    if (!rule)
        return -1;
    for (i = 0; i < want; i++)
        rule[i].pair = UINT64_MAX;
    b->rule = rule;
    b->rule_mask = want - 1;
    for (i = 0; i < old_n; i++)
        if (old[i].pair != UINT64_MAX)
            *rule_slot(b, old[i].pair) = old[i];
    free(old);
    return 0;
}

/* Where the next U+2581 (for a space, in vocabularies of SentencePiece) stands behind another character; n:
 * nowhere from i on. */
static size_t next_mark(const char *s, size_t n, size_t i)
{
    static const char mark[] = "\xe2\x96\x81";

    for (i = i ? i : 1; i + 3 <= n; i++)
        if (memcmp(s + i, mark, 3) == 0 && !(i >= 3 && memcmp(s + i - 3, mark, 3) == 0))
            return i;
    return n;
}

int bpe_merge(struct bpe *b, const char *left, size_t left_n, const char *right, size_t right_n,
              const char *what, struct err *e)
{
    int32_t l = map_find(&b->vocab, left, left_n), r = map_find(&b->vocab, right, right_n), id = -1;
    struct str both = {0};
    struct bpe_rule *slot;

    str_add(&both, left, left_n);
    str_add(&both, right, right_n);
    if (!both.failed) {
        id = map_find(&b->vocab, both.p, both.n);
        b->mark_inside = b->mark_inside || next_mark(both.p, both.n, 0) < both.n;
    }
    str_free(&both);
    if (b->loose_merges && (l < 0 || r < 0 || id < 0))
        return 0;
    if (l < 0 || r < 0 || id < 0)
        return err_set(e, ERR_INPUT, "%s: merge %zu ('%.*s' '%.*s'): %s is not in the vocabulary", what,
                       b->rules, (int)left_n, left, (int)right_n, right,
                       l < 0   ? "the left token"
                       : r < 0 ? "the right token"
                               : "the merged token");
    if (b->rules >= UINT32_MAX - 1)
        return err_set(e, ERR_INPUT, "%s: too many merges", what);
    if ((!b->rule || 2 * b->rules > b->rule_mask) && rules_rehash(b, e))
        return -1;
    slot =
        rule_slot(b, pair_of(l, r)); /* a pair that occurs twice keeps its last rank, as in the reference */
    *slot = (struct bpe_rule){pair_of(l, r), (uint32_t)b->rules++, id};
    return 0;
}

int bpe_rank(struct bpe *b, int32_t id, const char *text, size_t n, int32_t rank, struct err *e)
{
    size_t had = b->ranks;

    if (mem_grow(&b->rank, &b->ranks, (size_t)id + 1, sizeof *b->rank, e))
        return -1;
    for (; had < b->ranks; had++) /* ranks is the capacity */
        b->rank[had] = -1;
    b->rank[id] = rank;
    b->mark_inside = b->mark_inside || next_mark(text, n, 0) < n;
    return 0;
}

size_t bpe_byte(unsigned char byte, char out[2])
{
    unsigned c = byte;

    if (byte <= 0x20)
        c = 0x100u + byte;
    else if (byte >= 0x7f && byte <= 0xa0)
        c = 0x121u + (byte - 0x7fu);
    else if (byte == 0xad)
        c = 0x143;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 63));
    return 2;
}

void bpe_ready(struct bpe *b)
{
    char name[8], ch[2];
    int i;

    for (i = 0; i < 256; i++) {
        if (b->raw)
            b->byte_id[i] = map_find(&b->vocab, &(const char){(char)i}, 1);
        else
            b->byte_id[i] = map_find(&b->vocab, ch, bpe_byte((unsigned char)i, ch));
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        b->fallback_id[i] = map_find(&b->vocab, name, 6);
    }
    /* An unknown character must leave a symbol, or else the marks around it are neighbours; and the mark be
     * known, for an unk that waits is written before it as at the end of a piece. */
    b->cut_at_marks = !b->byte_level && !b->ignore_merges && !b->mark_inside && b->unk >= 0 &&
                      map_find(&b->vocab, "\xe2\x96\x81", 3) >= 0;
}

void bpe_free(struct bpe *b)
{
    map_free(&b->vocab);
    free(b->rank);
    free(b->rule);
    *b = (struct bpe){0};
}

/* ---- encoding ---- */

int bpe_work_init(struct bpe_work *w, struct err *e)
{
    *w = (struct bpe_work){0};
    w->cache = mem_new_aligned(CACHE_ENTRIES, sizeof *w->cache, e);
    if (!w->cache)
        return -1;
    memset(w->cache, 0, CACHE_ENTRIES * sizeof *w->cache);
    return 0;
}

void bpe_work_free(struct bpe_work *w)
{
    free(w->symbol);
    free(w->heap);
    free(w->from);
    free(w->cache);
    str_free(&w->mapped);
    *w = (struct bpe_work){0};
}

/* Lowest rank first, and among equals the leftmost, as the reference's queue. */
static bool before(const struct bpe_candidate *a, const struct bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

static void heap_push(struct bpe_work *w, struct bpe_candidate c)
{
    size_t i = w->heap_n++;

    while (i && before(&c, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = c;
}

static struct bpe_candidate heap_pop(struct bpe_work *w)
{
    struct bpe_candidate top = w->heap[0], last = w->heap[--w->heap_n];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < w->heap_n) {
        if (child + 1 < w->heap_n && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* By rank: the token that the symbols at pos and next spell. Kept out of the way of rules, which are tried
 * most. */
static __attribute__((noinline)) void consider_spelled(const struct bpe *b, struct bpe_work *w, int32_t pos,
                                                       int32_t next)
{
    int32_t behind = w->symbol[next].next, end = behind >= 0 ? w->from[behind] : w->piece_n;
    int32_t id = map_find(&b->vocab, w->piece + w->from[pos], (size_t)(end - w->from[pos]));

    if (id >= 0 && b->rank[id] >= 0)
        heap_push(
            w, (struct bpe_candidate){(uint32_t)b->rank[id], pos, w->symbol[pos].id, w->symbol[next].id, id});
}

static inline void consider(const struct bpe *b, struct bpe_work *w, int32_t pos)
{
    int32_t next = w->symbol[pos].next;
    const struct bpe_rule *r;

    if (next < 0)
        return;
    if (b->rank) {
        consider_spelled(b, w, pos, next);
        return;
    }
    r = rule_find(b, w->symbol[pos].id, w->symbol[next].id);
    if (r)
        heap_push(w, (struct bpe_candidate){r->rank, pos, w->symbol[pos].id, w->symbol[next].id, r->id});
}

/* Merges the n symbols in w->symbol (linked already) until no rule applies. */
static int merge_all(const struct bpe *b, struct bpe_work *w, size_t n, struct err *e)
{
    size_t i;

    /* n - 1 candidates at first, and each of at most n - 1 merges adds two */
    if (mem_grow(&w->heap, &w->heap_cap, 3 * n, sizeof *w->heap, e))
        return -1;
    w->heap_n = 0;
    for (i = 0; i + 1 < n; i++)
        consider(b, w, (int32_t)i);
    while (w->heap_n) {
        struct bpe_candidate c = heap_pop(w);
        struct bpe_symbol *s = &w->symbol[c.pos], *r;

        if (s->id != c.left || s->next < 0 || w->symbol[s->next].id != c.right)
            continue; /* one of the two has been merged meanwhile */
        r = &w->symbol[s->next];
        s->id = c.id;
        s->next = r->next;
        r->id = -1;
        if (s->next >= 0)
            w->symbol[s->next].prev = c.pos;
        if (s->prev >= 0)
            consider(b, w, s->prev);
        consider(b, w, c.pos);
    }
    return 0;
}

static void push(struct bpe_work *w, size_t *n, int32_t id)
{
    w->symbol[(*n)++].id = id;
}

static size_t char_len(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* The unknown character s of len bytes as byte tokens; false if the vocabulary lacks one of them. */
static bool fall_back(const struct bpe *b, struct bpe_work *w, const char *s, size_t len, size_t *count)
{
    size_t i;

    for (i = 0; i < len; i++)
        if (b->fallback_id[(unsigned char)s[i]] < 0)
            return false;
    for (i = 0; i < len; i++)
        push(w, count, b->fallback_id[(unsigned char)s[i]]);
    return true;
}

static void link_symbols(struct bpe_work *w, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        w->symbol[i].prev = (int32_t)i - 1;
        w->symbol[i].next = i + 1 < count ? (int32_t)i + 1 : -1;
    }
}

/* The symbols of a piece before any merge; returns how many. An unk that waits to be fused is written
 * before the next known character, but not before byte tokens: the reference does so. */
static size_t first_symbols(const struct bpe *b, struct bpe_work *w, const char *s, size_t n)
{
    bool unk_waits = false;
    size_t count = 0, i, len;

    for (i = 0; i < n; i += len) {
        int32_t id;

        len = b->byte_level ? 1 : char_len((unsigned char)s[i]);
        id = b->byte_level ? b->byte_id[(unsigned char)s[i]] : map_find(&b->vocab, s + i, len);
        if (id >= 0) {
            if (unk_waits)
                push(w, &count, b->unk);
            unk_waits = false;
            push(w, &count, id);
        } else if (!(b->byte_fallback && fall_back(b, w, s + i, len, &count))) {
            w->unknown = s + i;
            if (unk_waits && !b->fuse_unk)
                push(w, &count, b->unk);
            unk_waits = b->unk >= 0;
        }
    }
    if (unk_waits)
        push(w, &count, b->unk);
    link_symbols(w, count);
    return count;
}

/* By rank: every character is a symbol, known or not (UNKNOWN), since two of them may spell a token. */
enum { UNKNOWN = -2 };
static size_t first_spelled(const struct bpe *b, struct bpe_work *w, const char *s, size_t n)
{
    size_t count = 0, i, len;

    w->piece = s;
    w->piece_n = (int32_t)n;
    for (i = 0; i < n; i += len) {
        int32_t id;

        len = b->byte_level ? 1 : char_len((unsigned char)s[i]);
        id = b->byte_level ? b->byte_id[(unsigned char)s[i]] : map_find(&b->vocab, s + i, len);
        w->from[count] = (int32_t)i;
        push(w, &count, id >= 0 ? id : UNKNOWN);
    }
    link_symbols(w, count);
    return count;
}

/* What has become of the symbols; unknown characters are bytes, else one unk for a run of them. */
static int write_spelled(const struct bpe *b, const struct bpe_work *w, struct ids *out, struct err *e)
{
    bool after_unk = false;
    int32_t i;
    size_t k;

    for (i = 0; i >= 0; i = w->symbol[i].next) {
        const char *s = w->piece + w->from[i];
        bool known = w->symbol[i].id != UNKNOWN;
        size_t len = char_len((unsigned char)*s);

        if (known && ids_add(out, w->symbol[i].id, e))
            return -1;
        for (k = 0; !known && b->byte_fallback && k < len; k++)
            if (ids_add(out, b->fallback_id[(unsigned char)s[k]], e))
                return -1;
        if (!known && !b->byte_fallback && !after_unk && (b->unk < 0 || ids_add(out, b->unk, e)))
            return b->unk < 0 ? err_set(e, ERR_INPUT, "the vocabulary lacks the byte at '%.20s'", s) : -1;
        after_unk = !known && !b->byte_fallback;
    }
    return 0;
}

/* The id of the whole piece as a token, or -1. */
static int32_t whole_token(const struct bpe *b, struct bpe_work *w, const char *piece, size_t n)
{
    size_t i;
    char ch[2];

    if (!b->byte_level || b->raw)
        return map_find(&b->vocab, piece, n);
    str_clear(&w->mapped);
    for (i = 0; i < n; i++)
        str_add(&w->mapped, ch, bpe_byte((unsigned char)piece[i], ch));
    return w->mapped.failed ? -1 : map_find(&b->vocab, w->mapped.p, w->mapped.n);
}

static int bpe_encode_piece(const struct bpe *b, struct bpe_work *w, const char *piece, size_t n,
                            struct ids *out, struct err *e)
{
    size_t count;
    int32_t id, i;

    if (n > INT32_MAX / 4)
        return err_set(e, ERR_INPUT, "a piece of %zu bytes is too long to encode", n);
    if (b->ignore_merges) {
        id = whole_token(b, w, piece, n);
        if (str_ok(&w->mapped, e))
            return -1;
        if (id >= 0)
            return ids_add(out, id, e);
    }
    if (mem_grow(&w->symbol, &w->symbol_cap, n + 1, sizeof *w->symbol, e))
        return -1;
    if (b->rank) {
        if (mem_grow(&w->from, &w->from_cap, n + 1, sizeof *w->from, e))
            return -1;
        return merge_all(b, w, first_spelled(b, w, piece, n), e) || write_spelled(b, w, out, e) ? -1 : 0;
    }
    w->unknown = NULL;
    count = first_symbols(b, w, piece, n);
    if (w->unknown && b->unk_absent)
        return err_set(e, ERR_INPUT,
                       "the vocabulary has neither the byte or character at '%.20s' nor the unk_token",
                       w->unknown);
    if (merge_all(b, w, count, e))
        return -1;
    for (i = count ? 0 : -1; i >= 0; i = w->symbol[i].next)
        if (ids_add(out, w->symbol[i].id, e))
            return -1;
    return 0;
}

static int encode_cached(const struct bpe *b, struct bpe_work *w, const char *piece, size_t n,
                         struct ids *out, struct err *e)
{
    struct bpe_cached *c;
    uint64_t hash;
    size_t from = out->n, i;

    if (!n)
        return 0;
    if (n > CACHE_TEXT)
        return bpe_encode_piece(b, w, piece, n, out, e);
    hash = XXH3_64bits(piece, n);
    c = &w->cache[hash & (CACHE_ENTRIES - 1)];
    if (c->hash == hash && c->len == n && memcmp(c->text, piece, n) == 0) {
        for (i = 0; i < c->n; i++)
            if (ids_add(out, c->id[i], e))
                return -1;
        return 0;
    }
    if (bpe_encode_piece(b, w, piece, n, out, e))
        return -1;
    if (out->n - from <= CACHE_IDS) {
        c->hash = hash;
        c->len = (uint8_t)n;
        c->n = (uint8_t)(out->n - from);
        memcpy(c->text, piece, n);
        if (c->n)
            memcpy(c->id, out->id + from, c->n * sizeof *c->id);
    }
    return 0;
}

int bpe_encode(const struct bpe *b, struct bpe_work *w, const char *piece, size_t n, struct ids *out,
               struct err *e)
{
    size_t from = 0, to;

    if (!b->cut_at_marks)
        return encode_cached(b, w, piece, n, out, e);
    for (; from < n; from = to) {
        to = next_mark(piece, n, from + 1);
        if (encode_cached(b, w, piece + from, to - from, out, e))
            return -1;
    }
    return 0;
}
