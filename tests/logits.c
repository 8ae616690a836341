/*
 * logits.c -- the f32 logits of a checkpoint, for comparison with another implementation.
 *
 *     logits MODEL IDS OUT
 *
 * IDS is a safetensors file with "tokens" [N] i32 and "seq_len" [documents] i32 (a golden); OUT gets both and
 * "logits" [N, vocabulary] f32.
 */
#include <stdio.h>

#include "base/mem.h"
#include "engine/engine.h"

static struct err err;

static void *read_all(const struct st_file *f, const char *name, int64_t *count)
{
    const struct tensor *t = st_find(f, name);
    void *p = t ? mem_new((size_t)t->size, 1, &err) : NULL;

    if (!t || t->dtype != DT_I32)
        err_set(&err, ERR_INPUT, "'%s' has no i32 tensor '%s'", f->file.path, name);
    else
        *count = (int64_t)tensor_count(t);
    return p && st_read(f, t, 0, p, (size_t)t->size, &err) == 0 ? p : NULL;
}

static int write_out(const char *path, const int32_t *tokens, int64_t n, const int32_t *len, int64_t docs,
                     const float *logits, int vocab)
{
    struct tensor t[] = {
        {.name = "logits", .dtype = DT_F32, .rank = 2, .shape = {(uint64_t)n, (uint64_t)vocab}},
        {.name = "seq_len", .dtype = DT_I32, .rank = 1, .shape = {(uint64_t)docs}},
        {.name = "tokens", .dtype = DT_I32, .rank = 1, .shape = {(uint64_t)n}}};
    struct st_writer w;
    int r;

    if (st_create(&w, path, true, t, 3, NULL, NULL, 0, &err))
        return -1;
    r = st_put(&w, logits, (size_t)t[0].size, &err) || st_put(&w, len, (size_t)t[1].size, &err) ||
                st_put(&w, tokens, (size_t)t[2].size, &err) || st_finish(&w, &err)
            ? -1
            : 0;
    st_writer_close(&w);
    return r;
}

static int run(char **argv)
{
    const struct engine_options o = {.device = "cpu", .precision = PREC_F32};
    int64_t n = 0, docs = 0, first[64] = {0}, d;
    struct hidden *h = NULL;
    struct st_file ids;
    struct engine *en;
    struct model m;
    struct batch b = {.first = first};
    int32_t *tokens, *len;
    float *logits;

    if (model_open(&m, argv[1], NULL, &err) || st_open(&ids, argv[2], &err) || engine_open(&en, &o, &err) ||
        !(tokens = read_all(&ids, "tokens", &n)) || !(len = read_all(&ids, "seq_len", &docs)))
        return -1;
    if (docs > 63)
        return err_set(&err, ERR_INPUT, "more than 63 documents");
    for (d = 0; d < docs; d++)
        first[d + 1] = first[d] + len[d];
    b.ids = tokens;
    b.docs = docs;
    logits = mem_new((size_t)n * (size_t)m.arch.vocab, sizeof *logits, &err);
    if (!logits || engine_forward(en, &m, &b, NULL, NULL, &h, NULL, &err) ||
        engine_logits(en, &m, h, 0, (int)n, logits, &err))
        return -1;
    return write_out(argv[3], tokens, n, len, docs, logits, m.arch.vocab);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: logits MODEL IDS OUT\n");
        return 2;
    }
    if (run(argv) == 0)
        return 0;
    fprintf(stderr, "logits: %s\n", err.msg);
    return 1;
}
