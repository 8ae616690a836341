/*
 * tokenizer_spm.c -- tokenizer.model of sentencepiece as the source of a tokenizer: a message of protobuf
 * (sentencepiece_model.proto, whose numbers are here), of which byte-pair encoding is understood.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "text/token_pieces.h"

struct spm {
    char *path, *config_path, *text;
    struct token_pieces pieces;
};

/* ---- protobuf ---- */

struct field {
    int number;
    uint64_t value;    /* of a number */
    const char *bytes; /* of a message or a string; [n] */
    size_t n;
};
struct message {
    const char *p, *end;
    bool bad;
};

static uint64_t varint(struct message *m)
{
    uint64_t v = 0;
    int shift;

    for (shift = 0; shift < 64 && m->p < m->end; shift += 7) {
        unsigned char c = (unsigned char)*m->p++;

        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return v;
    }
    m->bad = true;
    return 0;
}

static bool spm_take(struct message *m, struct field *f, uint64_t n)
{
    m->bad = m->bad || n > (uint64_t)(m->end - m->p);
    if (m->bad)
        return false;
    f->bytes = m->p;
    f->n = (size_t)n;
    m->p += n;
    return true;
}

/* The next field; false at the end, or at what is no field: then bad is set. */
static bool next_field(struct message *m, struct field *f)
{
    uint64_t key;

    if (m->p == m->end || m->bad)
        return false;
    key = varint(m);
    *f = (struct field){.number = (int)(key >> 3 & 0x1fffffff)};
    switch (key & 7) {
    case 0:
        f->value = varint(m);
        return !m->bad;
    case 1:
        return spm_take(m, f, 8);
    case 2:
        return spm_take(m, f, varint(m));
    case 5:
        return spm_take(m, f, 4);
    default:
        m->bad = true;
        return false;
    }
}

static struct message inside(const struct field *f)
{
    return (struct message){f->bytes, f->bytes + f->n, false};
}

/* ---- the pieces ---- */

static int read_piece(struct spm *own, const struct field *f, struct err *e)
{
    struct message m = inside(f);
    struct token_piece p = {.type = PIECE_NORMAL};
    struct field g;

    while (next_field(&m, &g))
        if (g.number == 1 && g.bytes) {
            p.text = g.bytes;
            p.n = g.n;
        } else if (g.number == 2 && g.n == 4) {
            memcpy(&p.score, g.bytes, 4);
        } else if (g.number == 3) {
            p.type = (enum piece_type)(g.value <= PIECE_BYTE ? g.value : 0);
        }
    if (m.bad)
        p.n = 0;
    else if (p.type < PIECE_NORMAL || p.type == PIECE_UNUSED)
        return err_set(e, ERR_UNKNOWN, "%s: piece %zu ('%.*s') of type %d is not understood", own->path,
                       own->pieces.n, (int)p.n, p.text, (int)p.type);
    return token_pieces_add(&own->pieces, p.text, p.n, p.score, p.type, own->path, e);
}

static int spm_tokens(const struct tokenizer_source *s, token_fn *fn, void *ctx, struct err *e)
{
    return token_pieces_each(&((const struct spm *)s->own)->pieces, fn, ctx, e);
}

static int32_t spm_rank(const struct tokenizer_source *s, int32_t id)
{
    return ((const struct spm *)s->own)->pieces.rank[id];
}

/* ---- the rules ---- */

static int read_trainer(struct tokenizer_source *s, const struct field *f, struct err *e)
{
    struct spm *own = s->own;
    struct message m = inside(f);
    uint64_t type = 1, suffix = 0;
    struct field g;

    while (next_field(&m, &g))
        if (g.number == 3)
            type = g.value;
        else if (g.number == 24)
            suffix = g.value;
        else if (g.number == 35)
            s->byte_fallback = g.value != 0;
    if (m.bad)
        return err_set(e, ERR_INPUT, "%s: its trainer_spec is damaged", own->path);
    if (type != 2 || suffix)
        return err_set(e, ERR_UNKNOWN, "%s: %s is not understood (byte-pair encoding is)", own->path,
                       suffix      ? "white space as a suffix"
                       : type == 1 ? "a model of type unigram"
                                   : "a model that is neither unigram nor byte-pair encoding");
    return 0;
}

static int read_normalizer(struct tokenizer_source *s, const struct field *f, struct err *e)
{
    struct spm *own = s->own;
    struct message m = f ? inside(f) : (struct message){0};
    bool prefix = true, extra = true, escape = true, map = false;
    struct field g;

    while (next_field(&m, &g))
        if (g.number == 2)
            map = g.n > 0;
        else if (g.number == 3)
            prefix = g.value != 0;
        else if (g.number == 4)
            extra = g.value != 0;
        else if (g.number == 5)
            escape = g.value != 0;
    if (m.bad)
        return err_set(e, ERR_INPUT, "%s: its normalizer_spec is damaged", own->path);
    if (map || extra || !escape)
        return err_set(
            e, ERR_UNKNOWN,
            "%s: its normalizer %s, which is not understood: give the model a tokenizer.json, or data as ids",
            own->path,
            map     ? "maps characters (precompiled_charsmap)"
            : extra ? "removes extra white space"
                    : "leaves spaces as they are");
    s->normalizer = token_pieces_normalizer(prefix);
    return 0;
}

/* ---- the whole ---- */

static void spm_close(struct tokenizer_source *s)
{
    struct spm *own = s->own;

    cJSON_Delete(s->added);
    cJSON_Delete(s->normalizer);
    cJSON_Delete(s->config);
    free(own->path);
    free(own->config_path);
    free(own->text);
    token_pieces_free(&own->pieces);
    free(own);
    *s = (struct tokenizer_source){0};
}

static int read_message(struct tokenizer_source *s, size_t n, struct err *e)
{
    struct spm *own = s->own;
    struct message m = {own->text, own->text + n, false};
    struct field f, trainer = {0}, normalizer = {0};

    while (next_field(&m, &f)) {
        if (f.number == 1 && f.bytes && read_piece(own, &f, e))
            return -1;
        if (f.number == 2 && f.bytes)
            trainer = f;
        if (f.number == 3 && f.bytes)
            normalizer = f;
    }
    if (m.bad || !own->pieces.n || !trainer.bytes)
        return err_set(e, ERR_INPUT, "%s: is not a model of sentencepiece", own->path);
    return read_trainer(s, &trainer, e) || read_normalizer(s, normalizer.bytes ? &normalizer : NULL, e) ? -1
                                                                                                        : 0;
}

static int read_spm(struct tokenizer_source *s, const char *dir, struct err *e)
{
    struct spm *own = s->own;
    size_t n;

    s->name = own->path = path_join(dir, "tokenizer.model", e);
    s->config_name = own->config_path = path_join(dir, "tokenizer_config.json", e);
    if (!s->name || !s->config_name || tokenizer_file(own->path, &own->text, &n, s->digest, e) ||
        tokenizer_config(&s->config, dir, e) || read_message(s, n, e) || token_pieces_rank(&own->pieces, e) ||
        token_pieces_unk(&own->pieces, e))
        return -1;
    s->unk = own->pieces.unk;
    s->added = token_pieces_added(&own->pieces, true, e);
    return e->kind ? -1 : 0;
}

int tokenizer_spm(struct tokenizer_source *s, const char *dir, struct err *e)
{
    *s = (struct tokenizer_source){.tokens = spm_tokens,
                                   .rank = spm_rank,
                                   .added_normal = true,
                                   .close = spm_close,
                                   .own = mem_new(1, sizeof(struct spm), e)};
    if (!s->own)
        return -1;
    if (read_spm(s, dir, e) == 0)
        return 0;
    spm_close(s);
    return -1;
}
