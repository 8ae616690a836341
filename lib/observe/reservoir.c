/* reservoir.c -- which tokens are kept, by a hash of their document; their rows; the file. */
#include "observe/reservoir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/safetensors.h"
#include "quant/floats.h"

/* The tensors: of the sample, and of each layer. */
enum { T_CATEGORY, T_HALF, T_HASH, T_ID, T_POSITION, OF_TOKENS };
enum { L_EXPERTS, L_GATES, L_INPUT, L_OUTPUT, L_RESIDUAL, L_TURN, OF_LAYER };
enum { NAME_BYTES = 48 };
static const char *const token_name[OF_TOKENS] = {"tokens.category", "tokens.half", "tokens.hash",
                                                  "tokens.id", "tokens.position"};
static const char *const layer_name[OF_LAYER] = {"experts", "gates",         "input",
                                                 "output",  "residual_norm", "turn"};

/* ---- the sample ---- */

struct draw {
    uint64_t hash;
    int64_t token;
};

/* Of a document: its category's name and its tokens. */
static uint64_t document_hash(const struct corpus *c, const struct doc *d)
{
    const char *name = c->category[d->category];
    uint64_t h = 0;
    int i;

    for (; *name; name++)
        h = splitmix64(h ^ (unsigned char)*name);
    for (i = 0; i < d->n; i++)
        h = splitmix64(h ^ (uint64_t)(uint32_t)c->ids[d->first + i] << 8);
    return h;
}

static bool before(const struct draw *a, const struct draw *b)
{
    return a->hash != b->hash ? a->hash < b->hash : a->token < b->token;
}

/* A heap of n whose first is the largest: d takes the place of the first. */
static void sift(struct draw *heap, int64_t n, struct draw d)
{
    int64_t at = 0, child;

    while ((child = 2 * at + 1) < n) {
        child += child + 1 < n && before(&heap[child], &heap[child + 1]);
        if (!before(&d, &heap[child]))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = d;
}

/* The same from the other end: d is added as the last of n. */
static void rise(struct draw *heap, int64_t n, struct draw d)
{
    int64_t at = n - 1, parent;

    for (; at > 0 && before(&heap[parent = (at - 1) / 2], &d); at = parent)
        heap[at] = heap[parent];
    heap[at] = d;
}

static int by_token(const void *a, const void *b)
{
    const struct draw *x = a, *y = b;

    return (x->token > y->token) - (x->token < y->token);
}

/* The lowest `each` hashes of every category to draw[categories][each]; have[categories] says how many. */
static void draw_all(const struct corpus *c, struct draw *draw, int64_t each, int64_t *have)
{
    int64_t k;
    int i;

    for (k = 0; k < c->docs; k++) {
        const struct doc *d = &c->doc[k];
        struct draw *heap = draw + d->category * each;
        uint64_t h = document_hash(c, d);

        for (i = 0; i < d->n; i++) {
            struct draw x = {splitmix64(h + (uint64_t)i), d->first + i};

            if (have[d->category] < each)
                rise(heap, ++have[d->category], x);
            else if (before(&x, heap))
                sift(heap, each, x);
        }
    }
}

/* Tokens of the largest category. */
static int64_t most_tokens(const struct corpus *c, int64_t *count)
{
    int64_t d, most = 0;

    for (d = 0; d < c->docs; d++) {
        int64_t n = count[c->doc[d].category] += c->doc[d].n;

        most = n > most ? n : most;
    }
    memset(count, 0, (size_t)c->categories * sizeof *count);
    return most;
}

/* Fills token and hash. */
static int choose(struct reservoir *r, const struct corpus *c, int64_t tokens, struct err *e)
{
    int64_t each = tokens / c->categories, most, k, *have = mem_new((size_t)c->categories, sizeof *have, e);
    struct draw *draw = NULL;
    int status = -1;

    if (!have)
        return -1;
    if (each) {
        most = most_tokens(c, have);
        each = each < most ? each : most;
        draw = mem_new((size_t)each * (size_t)c->categories, sizeof *draw, e);
    } else {
        err_set(e, ERR_USAGE, "a reservoir of %lld tokens is too small for %d categories", (long long)tokens,
                c->categories);
    }
    if (!draw)
        goto out;
    draw_all(c, draw, each, have);
    for (k = 0; k < c->categories; k++) {
        memmove(draw + r->tokens, draw + k * each, (size_t)have[k] * sizeof *draw);
        r->tokens += have[k];
    }
    qsort(draw, (size_t)r->tokens, sizeof *draw, by_token);
    r->token = mem_new((size_t)r->tokens, sizeof *r->token, e);
    r->hash = mem_new((size_t)r->tokens, sizeof *r->hash, e);
    for (k = 0; r->token && r->hash && k < r->tokens; k++) {
        r->token[k] = draw[k].token;
        r->hash[k] = draw[k].hash;
    }
    status = r->token && r->hash ? 0 : -1;
out:
    free(draw);
    free(have);
    return status;
}

/* ---- rows ---- */

static size_t elem_bytes(bool bf16)
{
    return bf16 ? 2 : 4;
}

uint64_t reservoir_bytes(const struct arch *a, bool bf16, int64_t tokens)
{
    uint64_t row = 2 * (uint64_t)a->hidden * elem_bytes(bf16) + 8 * (uint64_t)a->topk + 2 * sizeof(float),
             bytes;

    row = row * (uint64_t)a->moe_layers + sizeof(uint64_t) + (OF_TOKENS - 1) * sizeof(int32_t);
    return mul_u64(row, (uint64_t)tokens, &bytes) ? bytes : UINT64_MAX;
}

int reservoir_new(struct reservoir *r, const struct corpus *c, const struct arch *a, bool bf16,
                  int64_t tokens, struct err *e)
{
    size_t rows;

    *r = (struct reservoir){.n_layers = a->moe_layers, .topk = a->topk, .hidden = a->hidden, .bf16 = bf16};
    if (reservoir_bytes(a, bf16, tokens < c->tokens ? tokens : c->tokens) > SIZE_MAX / 2)
        err_set(e, ERR_NOMEM, "a reservoir of %lld tokens is too large", (long long)tokens);
    else if (choose(r, c, tokens, e) == 0) {
        rows = (size_t)r->n_layers * (size_t)r->tokens;
        r->input = mem_new(rows * (size_t)r->hidden, elem_bytes(bf16), e);
        r->output = mem_new(rows * (size_t)r->hidden, elem_bytes(bf16), e);
        r->expert = mem_new(rows * (size_t)r->topk, sizeof *r->expert, e);
        r->gate = mem_new(rows * (size_t)r->topk, sizeof *r->gate, e);
        r->residual = mem_new(rows, sizeof *r->residual, e);
        r->turn = mem_new(rows, sizeof *r->turn, e);
        if (r->input && r->output && r->expert && r->gate && r->residual && r->turn)
            return 0;
    }
    reservoir_free(r);
    return -1;
}

void reservoir_free(struct reservoir *r)
{
    free(r->token);
    free(r->hash);
    free(r->input);
    free(r->output);
    free(r->expert);
    free(r->gate);
    free(r->residual);
    free(r->turn);
    *r = (struct reservoir){0};
}

/* What the experts of a token add, from its results at element `at` of y. */
static void put_output(const struct reservoir *r, const void *y, size_t at, const float *gate, bool gated,
                       uint8_t *out)
{
    size_t width = (size_t)r->hidden, i;
    enum dtype type = r->bf16 ? DT_BF16 : DT_F32;
    int k;

    for (i = 0; i < width; i++) {
        float sum = 0;

        for (k = 0; k < r->topk; k++)
            sum += float_at(type, y, at + (size_t)k * width + i) * (gated ? 1 : gate[k]);
        float_put(type, out, i, sum);
    }
}

void reservoir_put(struct reservoir *r, int layer_index, int64_t at, int n, const struct token_rows *rows,
                   bool gated)
{
    size_t row = (size_t)layer_index * (size_t)r->tokens + (size_t)at, topk = (size_t)r->topk,
           many = (size_t)n;
    size_t bytes = (size_t)r->hidden * elem_bytes(r->bf16), t;

    memcpy(r->input + row * bytes, rows->x, many * bytes);
    memcpy(r->expert + row * topk, rows->expert, many * topk * sizeof *rows->expert);
    memcpy(r->gate + row * topk, rows->gate, many * topk * sizeof *rows->gate);
    for (t = 0; t < many; t++) {
        put_output(r, rows->y, t * topk * (size_t)r->hidden, rows->gate + t * topk, gated,
                   r->output + (row + t) * bytes);
        r->residual[row + t] = rows->residual[t].norm;
        r->turn[row + t] = rows->residual[t].turn;
    }
}

/* ---- the file ---- */

static bool is_row(int k)
{
    return k == L_INPUT || k == L_OUTPUT;
}

static void reservoir_describe(const struct reservoir *r, const struct stats *head, struct tensor *t,
                               char (*name)[NAME_BYTES])
{
    int l, k;

    for (k = 0; k < OF_TOKENS; k++)
        *t++ = (struct tensor){.name = token_name[k],
                               .dtype = k == T_HASH ? DT_U64 : DT_I32,
                               .rank = 1,
                               .shape = {(uint64_t)r->tokens}};
    for (l = 0; l < r->n_layers; l++)
        for (k = 0; k < OF_LAYER; k++, t++, name++) {
            snprintf(*name, NAME_BYTES, "layers.%d.%s", head->layer[l], layer_name[k]);
            *t = (struct tensor){
                .name = *name,
                .dtype = k == L_EXPERTS         ? DT_I32
                         : is_row(k) && r->bf16 ? DT_BF16
                                                : DT_F32,
                .rank = k < L_RESIDUAL ? 2 : 1,
                .shape = {(uint64_t)r->tokens, is_row(k) ? (uint64_t)r->hidden : (uint64_t)r->topk}};
        }
}

static int put_tokens(const struct reservoir *r, const struct corpus *c, struct st_writer *w, struct err *e)
{
    int32_t *column = mem_new((size_t)r->tokens, sizeof *column, e);
    int64_t i, d;
    int k, status = column ? 0 : -1;

    for (k = 0; k < OF_TOKENS && !status; k++) {
        if (k == T_HASH) {
            status = st_put(w, r->hash, (size_t)r->tokens * sizeof *r->hash, e);
            continue;
        }
        for (i = d = 0; i < r->tokens; i++) {
            const struct doc *doc;

            while (r->token[i] >= c->doc[d].first + c->doc[d].n)
                d++;
            doc = &c->doc[d];
            column[i] = k == T_CATEGORY ? doc->category
                        : k == T_HALF   ? doc->half
                        : k == T_ID     ? c->ids[r->token[i]]
                                        : (int32_t)(r->token[i] - doc->first);
        }
        status = st_put(w, column, (size_t)r->tokens * sizeof *column, e);
    }
    free(column);
    return status;
}

static int put_layers(const struct reservoir *r, struct st_writer *w, struct err *e)
{
    size_t tokens = (size_t)r->tokens, choices = tokens * (size_t)r->topk;
    size_t rows = tokens * (size_t)r->hidden * elem_bytes(r->bf16), l;

    for (l = 0; l < (size_t)r->n_layers; l++)
        if (st_put(w, r->expert + l * choices, choices * sizeof *r->expert, e) ||
            st_put(w, r->gate + l * choices, choices * sizeof *r->gate, e) ||
            st_put(w, r->input + l * rows, rows, e) || st_put(w, r->output + l * rows, rows, e) ||
            st_put(w, r->residual + l * tokens, tokens * sizeof *r->residual, e) ||
            st_put(w, r->turn + l * tokens, tokens * sizeof *r->turn, e))
            return -1;
    return 0;
}

int reservoir_write(const struct reservoir *r, const struct stats *head, const struct corpus *c,
                    const char *path, bool force, struct err *e)
{
    static const char *const key[1 + STATS_LINES] = {"format", "model", "run", "parts", "categories"};
    size_t n = OF_TOKENS + (size_t)r->n_layers * OF_LAYER, i;
    struct tensor *t = mem_new(n, sizeof *t, e);
    char(*name)[NAME_BYTES] = mem_new(n, sizeof *name, e);
    struct str text[STATS_LINES] = {{0}};
    const char *value[1 + STATS_LINES] = {"moe-reservoir 1"};
    struct st_writer w = {.out = {.fd = -1}};
    int status = -1;

    if (t && name && stats_lines(head, text, e) == 0) {
        for (i = 0; i < STATS_LINES; i++)
            value[1 + i] = text[i].p;
        reservoir_describe(r, head, t, name);
        if (st_create(&w, path, force, t, n, key, value, 1 + STATS_LINES, e) == 0) {
            status = put_tokens(r, c, &w, e) || put_layers(r, &w, e) || st_finish(&w, e) ? -1 : 0;
            st_writer_close(&w);
        }
    }
    for (i = 0; i < STATS_LINES; i++)
        str_free(&text[i]);
    free(name);
    free(t);
    return status;
}
