/*
 * indexer.c -- what chooses the tokens that attention sees, where a family has that: its numbers and its
 * tensors. It is not computed: in a document of no more tokens than it chooses it leaves out none, so that
 * whatever it says changes nothing, and longer ones are refused (arch.longest).
 */
#include <string.h>

#include "base/words.h"
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

/* Those that choose tokens. */
static void read_topk(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    int heads = config_int(c, "index_n_heads", 1, 1 << 16, f->default_index_heads), i;
    int dim = config_int(c, "index_head_dim", 1, 1 << 16, 128);

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

/* What MiniMax-M3 releases say in a dictionary of its own, and how transformers spells it. */
static const struct {
    const char *key, *flat;
    int absent;
} block_keys[] = {{"sparse_num_index_heads", "index_n_heads", 4},
                  {"sparse_index_dim", "index_head_dim", 128},
                  {"sparse_block_size", "index_block_size", 128},
                  {"sparse_topk_blocks", "index_topk_blocks", 16},
                  {"sparse_local_block", "index_local_blocks", 1}};
enum { BLOCK_HEADS, BLOCK_DIM, BLOCK_SIZE, BLOCKS_KEPT, BLOCK_KEYS = 5 };

/* Nothing else may be said there that is not understood. */
static void check_dictionary(struct config *d)
{
    static const char *const other[] = {"sparse_attention_freq", "sparse_disable_index_value", NULL};
    static const struct fixed_key fixed[] = {
        {"sparse_score_type", "max"}, {"sparse_init_block", "0"}, {"use_sparse_attention", "true"}};
    const cJSON *v;
    size_t k;

    cJSON_ArrayForEach(v, d->obj)
    {
        bool known = in_words(other, v->string);

        for (k = 0; k < BLOCK_KEYS; k++)
            known = known || strcmp(v->string, block_keys[k].key) == 0;
        for (k = 0; k < sizeof fixed / sizeof *fixed; k++)
            known = known || (strcmp(v->string, fixed[k].key) == 0 && config_value_is(v, fixed[k].value));
        if (!known)
            err_set(d->e, ERR_UNKNOWN, "'%s': '%s' of sparse_attention_config is not understood as it is",
                    d->what, v->string);
    }
}

/* Whether layer i chooses blocks. */
static bool has_blocks(struct config *c, struct config *d, int layers, int i)
{
    const cJSON *types = config_get(c, "layer_types"), *freq = config_get(d, "sparse_attention_freq"), *v;
    const char *name;

    if (!cJSON_IsArray(types) && !cJSON_IsArray(freq))
        return false;
    if (cJSON_GetArraySize(cJSON_IsArray(types) ? types : freq) != layers) {
        err_set(c->e, ERR_INPUT, "'%s': there is not a kind of attention for each of %d layers", c->what,
                layers);
        return false;
    }
    v = cJSON_GetArrayItem(cJSON_IsArray(types) ? types : freq, i);
    if (!cJSON_IsArray(types))
        return cJSON_IsTrue(v) || (cJSON_IsNumber(v) && v->valuedouble != 0);
    name = cJSON_IsString(v) ? v->valuestring : "(not a string)";
    if (strcmp(name, "minimax_m3_sparse") == 0)
        return true;
    if (strcmp(name, "full_attention") != 0)
        err_set(c->e, ERR_UNKNOWN, "'%s': the layer type '%s' is not known", c->what, name);
    return false;
}

/* Those that choose blocks of tokens. */
static void read_blocks(struct arch *a, struct config *c)
{
    struct config d = {config_get(c, "sparse_attention_config"), c->what, c->e};
    int value[BLOCK_KEYS], i;
    bool any = false;

    check_dictionary(&d);
    for (i = 0; i < BLOCK_KEYS; i++)
        value[i] = config_int(&d, block_keys[i].key, 0, 1 << 15,
                              config_int(c, block_keys[i].flat, 0, 1 << 15, block_keys[i].absent));
    for (i = 0; i < a->layers && !c->e->kind; i++)
        if (has_blocks(c, &d, a->layers, i)) {
            a->layer[i].indexer = (struct indexer_arch){value[BLOCK_HEADS], value[BLOCK_DIM]};
            any = true;
        }
    a->longest = any ? value[BLOCK_SIZE] * value[BLOCKS_KEPT] : 0;
    if (any && (!value[BLOCK_HEADS] || !value[BLOCK_DIM] || !a->longest))
        err_set(c->e, ERR_INPUT, "'%s': an indexer of no size", c->what);
}

void indexer_read(struct arch *a, struct config *c)
{
    if (a->family->indexer == INDEXER_BLOCKS)
        read_blocks(a, c);
    else if (a->family->indexer != INDEXER_NONE)
        read_topk(a, c);
}

/* Those that lie in the layer; how many. */
static int token_slots(const struct arch *a, const struct layer_arch *l, struct slot *s)
{
    const struct indexer_arch *x = &l->indexer;

    s[0] =
        (struct slot){SLOT_INDEX_Q, "self_attn.indexer.wq_b", x->heads * x->dim, l->latent.q, .linear = true};
    s[1] = (struct slot){SLOT_INDEX_K, "self_attn.indexer.wk", x->dim, a->hidden, .linear = true};
    s[2] = (struct slot){SLOT_INDEX_WEIGHTS, "self_attn.indexer.weights_proj", x->heads, a->hidden,
                         .linear = true};
    s[3] = (struct slot){SLOT_INDEX_NORM, "self_attn.indexer.k_norm.weight", .out = x->dim};
    s[4] = (struct slot){SLOT_INDEX_NORM, "self_attn.indexer.k_norm.bias", .out = x->dim};
    return 5;
}

static int block_slots(const struct arch *a, const struct layer_arch *l, struct slot *s)
{
    const struct indexer_arch *x = &l->indexer;

    s[0] =
        (struct slot){SLOT_INDEX_Q, "self_attn.index_q_proj", x->heads * x->dim, a->hidden, .linear = true};
    s[1] = (struct slot){SLOT_INDEX_K, "self_attn.index_k_proj", x->dim, a->hidden, .linear = true};
    s[2] = (struct slot){SLOT_INDEX_NORM, "self_attn.index_q_norm.weight", .out = x->dim};
    s[3] = (struct slot){SLOT_INDEX_NORM, "self_attn.index_k_norm.weight", .out = x->dim};
    return 4;
}

int indexer_slots(const struct arch *a, const struct layer_arch *l, struct slot *s)
{
    int i, n = 0;

    if (l->indexer.heads)
        n = a->family->indexer == INDEXER_BLOCKS ? block_slots(a, l, s) : token_slots(a, l, s);
    for (i = 0; i < n; i++)
        s[i].owner = OF_INDEXER;
    return n;
}
