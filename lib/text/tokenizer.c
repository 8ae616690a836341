/*
 * tokenizer.c -- text to ids.
 */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "jinja/characters.h"
#include "text/tokenizer_parts.h"

static void workspace_free(struct workspace *w)
{
    if (!w)
        return;
    bpe_work_free(&w->bpe);
    split_work_free(&w->split);
    str_free(&w->normal_a);
    str_free(&w->normal_b);
    free(w);
}

static struct workspace *workspace_take(struct tokenizer *t, struct err *e)
{
    struct workspace *w;

    pthread_mutex_lock(&t->lock);
    w = t->idle;
    if (w)
        t->idle = w->next;
    pthread_mutex_unlock(&t->lock);
    if (w)
        return w;
    w = mem_new(1, sizeof *w, e);
    if (w && (bpe_work_init(&w->bpe, e) || split_work_init(&w->split, &t->splitter, e))) {
        workspace_free(w);
        w = NULL;
    }
    return w;
}

static void workspace_return(struct tokenizer *t, struct workspace *w)
{
    pthread_mutex_lock(&t->lock);
    w->next = t->idle;
    t->idle = w;
    pthread_mutex_unlock(&t->lock);
}

int tokenizer_open(struct tokenizer **out, const struct tokenizer_source *s, struct err *e)
{
    struct tokenizer *t = mem_new(1, sizeof *t, e);

    *out = NULL;
    if (!t)
        return -1;
    pthread_mutex_init(&t->lock, NULL);
    if (tokenizer_make(t, s, e)) {
        tokenizer_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    while (t->idle) {
        struct workspace *w = t->idle;

        t->idle = w->next;
        workspace_free(w);
    }
    added_free(&t->raw);
    added_free(&t->normalized);
    normalizer_free(&t->normalizer);
    splitter_free(&t->splitter);
    bpe_free(&t->bpe);
    ids_free(&t->before);
    ids_free(&t->after);
    map_free(&t->added_id);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Characters that are encoded together where the source's reference cuts. */
enum { LONGEST_TEXT = 400000, LONGEST_RUN = 25000 };

struct encoding {
    const struct tokenizer *t;
    struct workspace *w;
    struct ids *out;
};

static int encode_piece(void *ctx, const char *piece, size_t n, struct err *e)
{
    struct encoding *x = ctx;

    return bpe_encode(&x->t->bpe, &x->w->bpe, piece, n, x->out, e);
}

/* A stretch of raw text between added tokens. first: it begins the text. */
static int encode_stretch(struct encoding *x, const char *s, size_t n, bool first, struct err *e)
{
    const struct tokenizer *t = x->t;
    struct added_walk walk = {0};
    size_t from, to;
    int32_t id;

    if (normalize(&t->normalizer, s, n, &x->w->normal_a, &x->w->normal_b, &walk.s, &walk.n, e))
        return -1;
    while (added_next(&t->normalized, &walk, &from, &to, &id))
        if (split(&t->splitter, &x->w->split, walk.s + from, to - from, first && from == 0, encode_piece, x,
                  e) ||
            (id >= 0 && ids_add(x->out, id, e)))
            return -1;
    return 0;
}

static int append_ids(struct ids *out, const struct ids *from, struct err *e)
{
    size_t i;

    for (i = 0; i < from->n; i++)
        if (ids_add(out, from->id[i], e))
            return -1;
    return 0;
}

static int encode_text(struct encoding *x, const char *text, size_t n, struct err *e)
{
    struct added_walk walk = {.s = text, .n = n};
    size_t from, to;
    int32_t id;

    while (added_next(&x->t->raw, &walk, &from, &to, &id))
        if ((to > from && encode_stretch(x, text + from, to - from, from == 0, e)) ||
            (id >= 0 && ids_add(x->out, id, e)))
            return -1;
    return 0;
}

/* Bytes of s up to where LONGEST_RUN characters that are white space, or are not, have one more. */
static size_t run_end(const char *s, size_t n)
{
    bool space = n && uni_space(utf8_get(s, n)), now;
    size_t i, run = 0;

    for (i = 0; i < n; i += utf8_length(s + i, n - i)) {
        now = uni_space(utf8_get(s + i, n - i));
        run = now == space ? run + 1 : 1;
        space = now;
        if (run > LONGEST_RUN)
            return i;
    }
    return n;
}

/* As the Python of Llama 3 and Kimi does before it calls tiktoken: added tokens that are cut are not found.
 */
static int encode_in_parts(struct encoding *x, const char *text, size_t n, struct err *e)
{
    size_t from, part, at, run;

    for (from = 0; from < n; from += part) {
        part = utf8_at(text + from, n - from, LONGEST_TEXT);
        for (at = 0; at < part; at += run) {
            run = part <= LONGEST_RUN ? part : run_end(text + from + at, part - at);
            if (encode_text(x, text + from + at, run, e))
                return -1;
        }
    }
    return 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, bool special, struct ids *out,
                     struct err *e)
{
    struct tokenizer *pool = (struct tokenizer *)t; /* only the list of idle workspaces changes */
    struct encoding x = {t, workspace_take(pool, e), out};
    int r;

    if (!x.w)
        return -1;
    r = (special && append_ids(out, &t->before, e)) ||
                (t->cuts ? encode_in_parts : encode_text)(&x, text, n, e) ||
                (special && append_ids(out, &t->after, e))
            ? -1
            : 0;
    workspace_return(pool, x.w);
    return r;
}

size_t tokenizer_begin(const struct tokenizer *t, const int32_t **id)
{
    *id = t->before.id;
    return t->before.n;
}

int32_t tokenizer_id(const struct tokenizer *t, const char *content)
{
    size_t n = strlen(content);
    int32_t id = map_find(&t->added_id, content, n);

    return id >= 0 ? id : map_find(&t->bpe.vocab, content, n);
}

int32_t tokenizer_size(const struct tokenizer *t)
{
    return t->size;
}

const char *tokenizer_digest(const struct tokenizer *t)
{
    return t->digest;
}
