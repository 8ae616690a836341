/*
 * indexer.c -- what chooses the tokens that attention sees, where a family has that: its numbers and its
 * tensors. It is not computed: in a document of no more tokens than it chooses it leaves out none, so that
 * whatever it says changes nothing, and longer ones are refused (arch.longest).
 */
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "model/mixer.h"

/* Whether layer i chooses by itself, or takes what the last one before it that does has chosen. */
static bool by_schedule(struct config *c, int i)
{
    int freq = config_int(c, "index_topk_freq", 1, 1 << 20, 1);
    int offset = config_int(c, "index_skip_topk_offset", 0, 1 << 20, 2);
    int over = i - offset + 1;

    return (over > 0 ? over : 0) % freq == 0;
}

/* Layer i's word in a list of words or letters; 0: there is no such list. */
static char kind_at(struct config *c, int layers, int i)
{
    static const char *const keys[] = {"indexer_types", "index_topk_pattern"};
    const cJSON *v = NULL, *word;
    const char *text;
    size_t k;

    for (k = 0; k < 2 && !(v && !cJSON_IsNull(v)); k++)
        v = config_get(c, keys[k]);
    if (!v || cJSON_IsNull(v))
        return 0;
    word = cJSON_IsString(v) ? v : cJSON_GetArrayItem(v, i);
    text = cJSON_IsString(word) ? word->valuestring : "";
    if (cJSON_IsString(v) ? strlen(text) != (size_t)layers : cJSON_GetArraySize(v) != layers) {
        err_set(c->e, ERR_INPUT, "'%s': %s has not one entry for each of %d layers", c->what, keys[k - 1],
                layers);
        return 0;
    }
    if (cJSON_IsString(v))
        text += i;
    if (strcmp(text, "full") == 0 || *text == 'F')
        return 'F';
    if (strcmp(text, "shared") == 0 || *text == 'S')
        return 'S';
    err_set(c->e, ERR_UNKNOWN, "'%s': '%s' of %s is not known", c->what, text, keys[k - 1]);
    return 0;
}

void indexer_read(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    int heads, dim, i;

    if (f->indexer == INDEXER_NONE)
        return;
    heads = config_int(c, "index_n_heads", 1, 1 << 16, f->default_index_heads);
    dim = config_int(c, "index_head_dim", 1, 1 << 16, 128);
    a->longest = config_int(c, "index_topk", 1, 1 << 30, 2048);
    for (i = 0; i < a->layers && !c->e->kind; i++) {
        char kind = f->indexer == INDEXER_SHARED ? kind_at(c, a->layers, i) : 'F';

        if (kind == 'F' || (!kind && by_schedule(c, i)))
            a->layer[i].indexer = (struct indexer_arch){heads, dim};
        else if (i == 0)
            err_set(c->e, ERR_INPUT, "'%s': the first layer takes its tokens from one before it", c->what);
        if (!a->layer[i].latent.q)
            err_set(c->e, ERR_INPUT, "'%s': an indexer without q_lora_rank", c->what);
    }
}

int indexer_slots(const struct arch *a, const struct layer_arch *l, struct slot *s)
{
    const struct indexer_arch *x = &l->indexer;
    const struct slot all[] = {
        {SLOT_INDEX_Q, "self_attn.indexer.wq_b", x->heads * x->dim, l->latent.q, .linear = true},
        {SLOT_INDEX_K, "self_attn.indexer.wk", x->dim, a->hidden, .linear = true},
        {SLOT_INDEX_WEIGHTS, "self_attn.indexer.weights_proj", x->heads, a->hidden, .linear = true},
        {SLOT_INDEX_NORM, "self_attn.indexer.k_norm.weight", .out = x->dim},
        {SLOT_INDEX_NORM, "self_attn.indexer.k_norm.bias", .out = x->dim},
    };
    int i, n = x->heads ? (int)(sizeof all / sizeof *all) : 0;

    for (i = 0; i < n; i++) {
        s[i] = all[i];
        s[i].owner = OF_INDEXER;
    }
    return n;
}
