/* cache.c -- the file of kept logprobs: writing in passes, reading what a document needs. */
#include "judge/cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 4096, HEADER_MAX = 4096 };
#define CACHE_MAGIC "#moe-logprobs 1\n"

/* ---- what it belongs to ---- */

/* Digest of config.json and of every tensor's name, dtype, shape, first and last bytes. Not of all bytes:
 * that would take as long as running the model. */
static int weights_digest(const struct model *m, char out[HASH_HEX], struct err *e)
{
    struct hash *h = hash_new(e);
    unsigned char part[SAMPLE];
    size_t i;
    int rc = h ? 0 : -1;

    if (h)
        hash_add(h, m->config_text, m->config_n);
    for (i = 0; rc == 0 && i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];
        size_t n = t->size < SAMPLE ? (size_t)t->size : SAMPLE;

        hash_add(h, t->name, strlen(t->name) + 1);
        hash_add(h, dtype_name(t->dtype), strlen(dtype_name(t->dtype)) + 1);
        hash_add(h, t->shape, (size_t)t->rank * sizeof *t->shape);
        rc = checkpoint_read(&m->ckpt, t, 0, part, n, e);
        hash_add(h, part, n);
        if (rc == 0)
            rc = checkpoint_read(&m->ckpt, t, t->size - n, part, n, e);
        hash_add(h, part, n);
    }
    if (rc == 0)
        hash_hex(h, out);
    hash_free(h);
    return rc;
}

/* The lines before the records: all that decides what they hold, so that two files of the same have the same.
 */
static int cache_header(struct str *s, const struct cache *c, const struct model *ref, const char *precision,
                        struct err *e)
{
    char id_text[512], weights[HASH_HEX];
    struct model_id id;

    if (model_id_of(&id, ref, e) || weights_digest(ref, weights, e))
        return -1;
    if (model_id_print(&id, id_text, sizeof id_text) < 0)
        return err_set(e, ERR_INPUT, "the model line is too long");
    str_adds(s, CACHE_MAGIC);
    str_addf(s, "#model\t%s\n#weights\t%s\n", id_text, weights);
    str_addf(s, "#data\tdigest=%s\tdocuments=%lld\ttokens=%lld\n", c->corpus->digest,
             (long long)c->corpus->docs, (long long)c->corpus->tokens);
    str_addf(s, "#run\tprecision=%s\n", precision);
    str_addf(s, "#rows\tn=%lld\ttop=%d\tsamples=%d\tid_bytes=%d\n",
             (long long)(c->corpus->tokens - c->corpus->docs), c->top, c->samples, (int)c->id_bytes);
    return str_ok(s, e);
}

/* Why a file's header is not the one that is wanted, by its first line that differs. */
static int cache_refuse(const char *path, const char *have, const char *want, struct err *e)
{
    static const struct {
        const char *tag, *why;
    } line[] = {{"#moe-logprobs", "is no file of log-probabilities, or one of another version"},
                {"#model", "was made from another model"},
                {"#weights", "was made from a model with other weights or another config.json"},
                {"#data", "was made from other text, or with other text options"},
                {"#run", "was made with another precision"},
                {"#rows", "holds another number of tokens a position"}};
    size_t i = 0;

    while (*want && *have == *want) {
        i += *want == '\n';
        have++;
        want++;
    }
    i = i < sizeof line / sizeof *line ? i : sizeof line / sizeof *line - 1;
    return err_set(e, ERR_INPUT, "'%s' %s: name another file, or use --force to make it anew", path,
                   i > 0 && !*have ? "is truncated" : line[i].why);
}

/* 1: it is the right file, read up to the records; 0: it is another, and e says why; -1. */
static int same_header(struct cache *c, const char *path, const struct str *want, struct err *e)
{
    uint64_t rows = (uint64_t)(c->corpus->tokens - c->corpus->docs), bytes;
    char have[HEADER_MAX] = "";
    size_t n = want->n;

    if (rfile_open(&c->in, path, e))
        return -1;
    n = n < c->in.size ? n : (size_t)c->in.size;
    if (n >= sizeof have)
        return err_set(e, ERR_INPUT, "'%s': its header would be too long", path);
    if (rfile_read(&c->in, 0, have, n, e))
        return -1;
    if (n < want->n || memcmp(have, want->p, n) != 0) {
        cache_refuse(path, have, want->p, e);
        return 0;
    }
    c->at = n;
    if (!mul_u64(rows, c->record, &bytes) || c->in.size != n + bytes + strlen("#end\txxh3=\n") + HASH_HEX - 1)
        return err_set(e, ERR_INPUT, "'%s' is truncated or has something behind its end: remove it", path);
    return 1;
}

static int open_either(struct cache *c, const char *path, bool force, const struct str *head, struct err *e)
{
    struct err why = {0};
    int rc = path_exists(path) ? same_header(c, path, head, &why) : 0;

    c->reading = rc == 1;
    if (why.kind && (rc < 0 || !force)) {
        *e = why;
        return -1;
    }
    hash_add(c->hash, head->p, head->n);
    if (c->reading)
        return 0;
    if (c->in.path)
        input_release(path); /* an earlier cache, to be made anew */
    rfile_close(&c->in);
    return wfile_open(&c->out, path, force, e) || wfile_write(&c->out, head->p, head->n, e) ? -1 : 0;
}

static int kept(const struct cache *c)
{
    return c->top + c->samples;
}

int cache_open(struct cache *c, const char *path, bool force, const struct model *ref, const char *precision,
               const struct corpus *corpus, struct err *e)
{
    int vocab = ref->arch.vocab, longest = 0, rc = -1;
    struct str head = {0};
    int64_t d;

    *c = (struct cache){.corpus = corpus, .vocab = vocab, .top = CACHE_TOP, .samples = CACHE_SAMPLES};
    if (vocab <= CACHE_TOP + CACHE_SAMPLES) {
        c->top = vocab;
        c->samples = 0;
    }
    c->id_bytes = vocab <= 65536 ? 2 : 4;
    c->record = 2 * sizeof(float) + (size_t)kept(c) * (c->id_bytes + sizeof(float) + 1);
    for (d = 0; d < corpus->docs; d++)
        longest = corpus->doc[d].n > longest ? corpus->doc[d].n : longest;
    c->hash = hash_new(e);
    c->buf = mem_new((size_t)longest, c->record, e);
    if (c->hash && c->buf && cache_header(&head, c, ref, precision, e) == 0)
        rc = open_either(c, path, force, &head, e);
    str_free(&head);
    if (rc)
        cache_close(c);
    return rc;
}

/* ---- records ---- */

static unsigned char *put_u32(unsigned char *p, uint32_t v, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++, v >>= 8)
        *p++ = (unsigned char)(v & 255);
    return p;
}

static uint32_t get_u32(const unsigned char *p, size_t n)
{
    uint32_t v = 0;

    while (n-- > 0)
        v = v << 8 | p[n];
    return v;
}

static unsigned char *put_f32(unsigned char *p, float f)
{
    uint32_t v;

    memcpy(&v, &f, sizeof v);
    return put_u32(p, v, sizeof v);
}

static float get_f32(const unsigned char *p)
{
    uint32_t v = get_u32(p, sizeof v);
    float f;

    memcpy(&f, &v, sizeof f);
    return f;
}

static void cache_encode(const struct cache *c, const struct top_probs *top, int64_t t, unsigned char *p)
{
    size_t n = (size_t)kept(c), at = (size_t)t * n, i;

    p = put_f32(p, top->nll[t]);
    p = put_f32(p, top->rest[t]);
    for (i = 0; i < n; i++)
        p = put_u32(p, (uint32_t)top->id[at + i], c->id_bytes);
    for (i = 0; i < n; i++)
        p = put_f32(p, top->logp[at + i]);
    memcpy(p, top->sampled + at, n);
}

/* False: no tokens of this vocabulary in order, or no log-probabilities. */
static bool decode(const struct cache *c, struct top_probs *top, int64_t t, const unsigned char *p)
{
    size_t n = (size_t)kept(c), at = (size_t)t * n, i;
    const unsigned char *id = p + 2 * sizeof(float), *logp = id + n * c->id_bytes;
    uint32_t last = 0;
    int samples = 0;

    top->nll[t] = get_f32(p);
    top->rest[t] = get_f32(p + sizeof(float));
    memcpy(top->sampled + at, logp + n * sizeof(float), n);
    for (i = 0; i < n; i++) {
        uint32_t v = get_u32(id + i * c->id_bytes, c->id_bytes);

        top->id[at + i] = (int32_t)v;
        top->logp[at + i] = get_f32(logp + i * sizeof(float));
        if (v < last || v >= (uint32_t)c->vocab || !isfinite(top->logp[at + i]) || top->sampled[at + i] > 1)
            return false;
        last = v;
        samples += top->sampled[at + i];
    }
    return samples == c->samples && isfinite(top->nll[t]) && isfinite(top->rest[t]);
}

static int damaged(const struct cache *c, struct err *e)
{
    return err_set(e, ERR_INPUT, "'%s' is damaged: remove it", c->in.path);
}

int cache_pass(struct cache *c, const struct corpus_pass *p, struct top_probs *top, struct err *e)
{
    int64_t d, t;

    for (d = 0; d < p->batch.docs; d++) {
        int64_t first = p->first[d], n = p->first[d + 1] - first - 1;
        size_t bytes = (size_t)n * c->record;

        if (c->reading && rfile_read(&c->in, c->at, c->buf, bytes, e))
            return -1;
        for (t = 0; t < n; t++) {
            unsigned char *record = c->buf + (size_t)t * c->record;

            if (!c->reading)
                cache_encode(c, top, first + t, record);
            else if (!decode(c, top, first + t, record))
                return damaged(c, e);
            c->rest += exp((double)top->rest[first + t]);
        }
        hash_add(c->hash, c->buf, bytes);
        c->at += bytes;
        if (!c->reading && wfile_write(&c->out, c->buf, bytes, e))
            return -1;
    }
    return 0;
}

int cache_finish(struct cache *c, struct err *e)
{
    char end[64] = "#end\txxh3=", have[64] = "";
    size_t n = strlen(end);

    hash_hex(c->hash, end + n);
    n += HASH_HEX - 1;
    end[n++] = '\n';
    if (!c->reading)
        return wfile_write(&c->out, end, n, e) || wfile_commit(&c->out, e) ? -1 : 0;
    if (rfile_read(&c->in, c->at, have, n, e))
        return -1;
    return memcmp(have, end, n) == 0 ? 0 : damaged(c, e);
}

void cache_close(struct cache *c)
{
    rfile_close(&c->in);
    wfile_close(&c->out);
    hash_free(c->hash);
    free(c->buf);
    *c = (struct cache){0};
}
