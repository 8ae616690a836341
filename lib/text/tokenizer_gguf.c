/*
 * tokenizer_gguf.c -- the metadata of a GGUF file as the source of a tokenizer: byte-pair encoding by merges,
 * over bytes ("gpt2", whose rules are known by the name in tokenizer.ggml.pre) or characters ("gemma4"), or
 * pieces with scores as sentencepiece has them ("llama").
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/token_pieces.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_rules.h"

struct gguf_tokens {
    struct gguf g;
    char *path;
    struct token_pieces pieces;
};

static const struct gguf_tokens *own_of(const struct tokenizer_source *s)
{
    return s->own;
}

/* ---- tokens ---- */

/* Numbers beside the tokens; NULL: they are not there. */
static int beside(const struct gguf_tokens *own, const char *key, const struct gguf_value **v, struct err *e)
{
    double last;

    *v = tokenizer_gguf_find(&own->g, key);
    if (*v && !gguf_number(*v, tokenizer_gguf_find(&own->g, "tokens")->n - 1, &last))
        return err_set(e, ERR_INPUT, "%s: tokenizer.ggml.%s does not have a number for each token", own->path,
                       key);
    return 0;
}

/* An empty one is a gap, one of a type that is not known is nothing that text could have. */
static int gguf_add_piece(struct gguf_tokens *own, struct gguf_text text, const struct gguf_value *types,
                          const struct gguf_value *scores, struct err *e)
{
    uint64_t i = own->pieces.n;
    int64_t type = PIECE_NORMAL;
    double score = 0;

    if (types && !gguf_int(types, i, &type))
        type = PIECE_UNUSED;
    if (scores)
        gguf_number(scores, i, &score);
    if (!text.n)
        text = (struct gguf_text){"-", 1};
    else if (type >= PIECE_NORMAL && type <= PIECE_BYTE)
        return token_pieces_add(&own->pieces, text.p, text.n, (float)score, (enum piece_type)type, own->path,
                                e);
    return token_pieces_add(&own->pieces, text.p, text.n, 0, PIECE_UNUSED, own->path, e);
}

static int read_tokens(struct gguf_tokens *own, struct err *e)
{
    const struct gguf_value *v = tokenizer_gguf_find(&own->g, "tokens"), *types, *scores;
    const uint8_t *at = v ? v->at : NULL;
    struct gguf_text text;

    if (!v || !v->array || v->type != GGUF_STRING || !v->n || v->n >= INT32_MAX)
        return err_set(e, ERR_INPUT, "%s has no tokenizer (tokenizer.ggml.tokens): give it data as ids",
                       own->path);
    if (beside(own, "token_type", &types, e) || beside(own, "scores", &scores, e))
        return -1;
    while (gguf_next(v, &at, &text))
        if (gguf_add_piece(own, text, types, scores, e))
            return -1;
    return token_pieces_unk(&own->pieces, e);
}

static int gguf_tokens(const struct tokenizer_source *s, token_fn *fn, void *ctx, struct err *e)
{
    return token_pieces_each(&own_of(s)->pieces, fn, ctx, e);
}

/* ---- tokens whose ranks are their ids: as bytes ---- */

struct as_bytes {
    const struct token_pieces *pieces;
    token_fn *fn;
    void *ctx;
    struct str bytes;
};

/* The byte of a character of GPT-2's byte alphabet; -1: none. */
static int byte_of(unsigned c)
{
    return c == 0x143                ? 0xad
           : c >= 0x100 && c < 0x121 ? (int)c - 0x100
           : c >= 0x121 && c < 0x143 ? (int)c - 0x121 + 0x7f
           : c < 0x100               ? (int)c
                                     : -1;
}

static int token_as_bytes(void *ctx, const char *text, size_t n, double id, struct err *e)
{
    struct as_bytes *x = ctx;
    size_t i, len;

    if (x->pieces->piece[(size_t)id].type != PIECE_NORMAL)
        return x->fn(x->ctx, text, n, id, e);
    str_clear(&x->bytes);
    for (i = 0; i < n; i += len) {
        unsigned char lead = (unsigned char)text[i];
        int byte = lead < 0x80   ? byte_of(lead)
                   : lead < 0xe0 ? byte_of((lead & 31u) << 6 | ((unsigned char)text[i + 1] & 63u))
                                 : -1;

        len = lead < 0x80 ? 1 : 2;
        if (byte < 0)
            return err_set(e, ERR_INPUT, "token %.0f ('%s') is not spelled in the byte alphabet", id, text);
        str_addc(&x->bytes, (char)byte);
    }
    return str_ok(&x->bytes, e) ? -1 : x->fn(x->ctx, x->bytes.p, x->bytes.n, id, e);
}

static int gguf_tokens_bytes(const struct tokenizer_source *s, token_fn *fn, void *ctx, struct err *e)
{
    struct as_bytes x = {.pieces = &own_of(s)->pieces, .fn = fn, .ctx = ctx};
    int bad = token_pieces_each(x.pieces, token_as_bytes, &x, e);

    str_free(&x.bytes);
    return bad;
}

static int32_t gguf_id_rank(const struct tokenizer_source *s, int32_t id)
{
    return own_of(s)->pieces.piece[id].type == PIECE_NORMAL ? id : -1;
}

static int32_t gguf_score_rank(const struct tokenizer_source *s, int32_t id)
{
    return own_of(s)->pieces.rank[id];
}

/* ---- merges ---- */

static int gguf_merges(const struct tokenizer_source *s, merge_fn *fn, void *ctx, struct err *e)
{
    const struct gguf_value *v = tokenizer_gguf_find(&own_of(s)->g, "merges");
    const uint8_t *at = v->at;
    struct gguf_text m;

    while (gguf_next(v, &at, &m)) {
        const char *space = m.n > 1 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
        size_t left = space ? (size_t)(space - m.p) : 0;

        if (!space || left + 1 == m.n)
            return err_set(e, ERR_INPUT, "%s: the merge '%.*s' is not two tokens", s->name,
                           (int)(m.n < 100 ? m.n : 100), m.p);
        if (fn(ctx, m.p, left, space + 1, m.n - left - 1, e))
            return -1;
    }
    return 0;
}

static int want_merges(struct tokenizer_source *s, struct err *e)
{
    const struct gguf_value *v = tokenizer_gguf_find(&own_of(s)->g, "merges");

    if (!v || !v->array || v->type != GGUF_STRING)
        return err_set(e, ERR_INPUT, "%s: tokenizer.ggml.merges is missing, or no list of texts", s->name);
    s->merges = gguf_merges;
    s->loose_merges = true;
    return 0;
}

/* ---- the kinds ---- */

static int read_bytes(struct tokenizer_source *s, bool *begins, struct err *e)
{
    struct gguf_text pre = {"", 0};
    const struct tokenizer_rules *r;

    gguf_string(tokenizer_gguf_find(&own_of(s)->g, "pre"), &pre);
    r = tokenizer_rules(pre.p, pre.n);
    if (!r)
        return err_set(e, ERR_UNKNOWN,
                       "%s: how its text is split is not known: tokenizer.ggml.pre is %s%.*s%s: give the "
                       "tools data as ids",
                       s->name, pre.n ? "'" : "missing", (int)(pre.n < 60 ? pre.n : 60), pre.p,
                       pre.n ? "'" : "");
    s->normalizer = tokenizer_rules_normalizer(r);
    s->splitter = tokenizer_rules_splitter(r);
    s->ignore_merges = r->ignore_merges || r->ranks;
    *begins = r->begins;
    if (!r->ranks)
        return want_merges(s, e);
    s->tokens = gguf_tokens_bytes;
    s->rank = gguf_id_rank;
    s->raw = s->cuts = true;
    return 0;
}

/* prefix: a space is put in front where nothing is said. */
static void read_characters(struct tokenizer_source *s, bool prefix)
{
    const struct gguf_tokens *own = own_of(s);
    size_t i;

    tokenizer_gguf_flag(&own->g, "add_space_prefix", &prefix);
    s->normalizer = token_pieces_normalizer(prefix);
    s->unk = own->pieces.unk;
    s->added_normal = s->fuse_unk = true;
    for (i = 0; i < own->pieces.n && !s->byte_fallback; i++)
        s->byte_fallback = own->pieces.piece[i].type == PIECE_BYTE;
}

static int read_kind(struct tokenizer_source *s, bool *begins, struct err *e)
{
    struct gguf_tokens *own = s->own;
    struct gguf_text model = {"", 0};
    bool extra = false;

    gguf_string(tokenizer_gguf_find(&own->g, "model"), &model);
    if (gguf_is(&model, "gpt2"))
        return read_bytes(s, begins, e);
    tokenizer_gguf_flag(&own->g, "remove_extra_whitespaces", &extra);
    if (extra || tokenizer_gguf_find(&own->g, "precompiled_charsmap"))
        return err_set(e, ERR_UNKNOWN,
                       "%s: its tokenizer %s, which is not understood: give the tools data as ids", s->name,
                       extra ? "removes extra white space" : "maps characters (precompiled_charsmap)");
    if (gguf_is(&model, "gemma4")) {
        read_characters(s, false);
        return want_merges(s, e);
    }
    if (!gguf_is(&model, "llama"))
        return err_set(
            e, ERR_UNKNOWN,
            "%s: the tokenizer '%.*s' is not understood (gpt2, llama and gemma4 are): give the tools "
            "data as ids",
            s->name, (int)(model.n < 60 ? model.n : 60), model.p);
    read_characters(s, true);
    *begins = true;
    s->rank = gguf_score_rank;
    return token_pieces_rank(&own->pieces, e);
}

/* ---- the whole ---- */

static void gguf_tokens_close(struct tokenizer_source *s)
{
    struct gguf_tokens *own = s->own;

    cJSON_Delete(s->added);
    cJSON_Delete(s->normalizer);
    cJSON_Delete(s->splitter);
    cJSON_Delete(s->config);
    token_pieces_free(&own->pieces);
    gguf_close(&own->g);
    free(own->path);
    free(own);
    *s = (struct tokenizer_source){0};
}

/* Of what decides which tokens a text has, but for those around it. */
static int gguf_digest(const struct gguf *g, char hex[HASH_HEX], struct err *e)
{
    static const char *const keys[] = {"model",  "pre",   "add_space_prefix", "tokens", "token_type",
                                       "scores", "merges"};
    struct hash *h = hash_new(e);
    size_t i;

    if (!h)
        return -1;
    for (i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct gguf_value *v = tokenizer_gguf_find(g, keys[i]);

        hash_add(h, keys[i], strlen(keys[i]) + 1);
        if (v)
            hash_add(h, v->at, v->size);
    }
    hash_hex(h, hex);
    hash_free(h);
    return 0;
}

static int read_gguf(struct tokenizer_source *s, const char *path, struct err *e)
{
    struct gguf_tokens *own = s->own;
    bool begins = false;

    s->name = s->config_name = own->path = mem_strdup(path, e);
    if (!own->path || gguf_open(&own->g, path, e) || gguf_digest(&own->g, s->digest, e) ||
        read_tokens(own, e) || read_kind(s, &begins, e) ||
        tokenizer_gguf_config(&s->config, &own->g, begins, e))
        return -1;
    s->added = token_pieces_added(&own->pieces, s->added_normal, e);
    return e->kind ? -1 : 0;
}

int tokenizer_gguf(struct tokenizer_source *s, const char *path, struct err *e)
{
    *s = (struct tokenizer_source){
        .tokens = gguf_tokens, .close = gguf_tokens_close, .own = mem_new(1, sizeof(struct gguf_tokens), e)};
    if (!s->own)
        return -1;
    if (read_gguf(s, path, e) == 0)
        return 0;
    gguf_tokens_close(s);
    return -1;
}
