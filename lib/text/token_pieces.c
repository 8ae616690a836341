/* token_pieces.c -- their ranks, and those that are added tokens. */
#include "text/token_pieces.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

void token_pieces_free(struct token_pieces *p)
{
    free(p->piece);
    free(p->rank);
    free(p->unk);
    *p = (struct token_pieces){0};
}

int token_pieces_add(struct token_pieces *p, const char *text, size_t n, float score, enum piece_type type,
                     const char *what, struct err *e)
{
    if (!n || utf8_check(text, n) < n || memchr(text, 0, n))
        return err_set(e, ERR_INPUT, "%s: token %zu is damaged", what, p->n);
    if (mem_grow(&p->piece, &p->cap, p->n + 1, sizeof *p->piece, e))
        return -1;
    p->piece[p->n++] = (struct token_piece){text, n, score, type};
    return 0;
}

struct scored {
    float score;
    int32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    return (x->score < y->score) - (x->score > y->score);
}

int token_pieces_rank(struct token_pieces *p, struct err *e)
{
    struct scored *list = mem_new(p->n, sizeof *list, e);
    size_t n = 0, i;
    int32_t rank = 0;

    p->rank = mem_new(p->n, sizeof *p->rank, e);
    if (!list || !p->rank) {
        free(list);
        return -1;
    }
    for (i = 0; i < p->n; i++) {
        p->rank[i] = -1;
        if (p->piece[i].type == PIECE_NORMAL)
            list[n++] = (struct scored){p->piece[i].score, (int32_t)i};
    }
    if (n)
        qsort(list, n, sizeof *list, by_score);
    for (i = 0; i < n; i++) {
        rank += i && list[i].score != list[i - 1].score;
        p->rank[list[i].id] = rank;
    }
    free(list);
    return 0;
}

int token_pieces_unk(struct token_pieces *p, struct err *e)
{
    size_t i = 0;

    while (i < p->n && p->piece[i].type != PIECE_UNKNOWN)
        i++;
    p->unk = i < p->n ? mem_strndup(p->piece[i].text, p->piece[i].n, e) : NULL;
    return e->kind ? -1 : 0;
}

int token_pieces_each(const struct token_pieces *p, token_fn *fn, void *ctx, struct err *e)
{
    struct str text = {0}; /* messages want a NUL */
    int bad = 0;
    size_t i;

    for (i = 0; i < p->n && !bad; i++) {
        if (p->piece[i].type == PIECE_UNUSED)
            continue;
        str_clear(&text);
        str_add(&text, p->piece[i].text, p->piece[i].n);
        bad = str_ok(&text, e) || fn(ctx, text.p, text.n, (double)i, e);
    }
    str_free(&text);
    return bad ? -1 : 0;
}

cJSON *token_pieces_added(const struct token_pieces *p, bool normal, struct err *e)
{
    cJSON *all = cJSON_CreateArray();
    size_t i;

    for (i = 0; i < p->n && !e->kind; i++) {
        const struct token_piece *t = &p->piece[i];
        bool own = t->type == PIECE_USER_DEFINED;
        bool added = own || t->type == PIECE_CONTROL || t->type == PIECE_UNKNOWN;
        char *text = added ? mem_strndup(t->text, t->n, e) : NULL;
        cJSON *token;

        if (!text)
            continue;
        token = cJSON_CreateObject();
        cJSON_AddNumberToObject(token, "id", (double)i);
        cJSON_AddStringToObject(token, "content", text);
        cJSON_AddBoolToObject(token, "normalized", normal && own && !strchr(text, ' '));
        cJSON_AddItemToArray(all, token);
        free(text);
    }
    return all;
}

cJSON *token_pieces_normalizer(bool prefix)
{
    static const char replace[] =
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}";
    cJSON *all = cJSON_CreateObject(), *list;

    cJSON_AddStringToObject(all, "type", "Sequence");
    list = cJSON_AddArrayToObject(all, "normalizers");
    if (prefix)
        cJSON_AddItemToArray(list, cJSON_Parse("{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"}"));
    cJSON_AddItemToArray(list, cJSON_Parse(replace));
    return all;
}
