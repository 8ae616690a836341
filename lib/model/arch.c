/*
 * arch.c -- a family's row applied to a config.json.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/words.h"
#include "model/config.h"
#include "model/mixer.h"

enum { MAX_LAYERS = 4096, MAX_EXPERTS = 65536 };

/* ---- parts of an architecture ---- */

/* Small models that only guess what a larger one will say. */
static bool is_draft(const char *architecture)
{
    static const char *const ends[] = {"Eagle", "Eagle3", "MTP", "NextN"};
    size_t i;

    for (i = 0; i < sizeof ends / sizeof *ends && !ends_with(architecture, ends[i]); i++)
        ;
    return i < sizeof ends / sizeof *ends;
}

static const struct family *find_family(struct config *c)
{
    const cJSON *archs = config_get(c, "architectures"), *first = archs ? archs->child : NULL;
    const char *type = config_string(c, "model_type");
    int n, i;
    const struct family *const *t = family_table(&n);

    if (first && cJSON_IsString(first)) {
        for (i = 0; i < n; i++)
            if (in_words(t[i]->architectures, first->valuestring))
                return t[i];
        if (is_draft(first->valuestring))
            err_set(
                c->e, ERR_UNKNOWN,
                "'%s': the architecture '%s' drafts for speculative decoding: prune the model that it is for",
                c->what, first->valuestring);
        err_set(c->e, ERR_UNKNOWN,
                "'%s': the architecture '%s' is not known; moe-inspect --families lists those that are",
                c->what, first->valuestring);
        return NULL;
    }
    for (i = 0; type && i < n; i++)
        if (in_words(t[i]->model_type, type))
            return t[i];
    err_set(c->e, ERR_UNKNOWN,
            "'%s': the model type '%s' is not known; moe-inspect --families lists those that are", c->what,
            type ? type : "(none)");
    return NULL;
}

/* All spellings that are present must agree. */
static int agreed(struct config *c, const char *const *keys, int max)
{
    const char *found = NULL, *const * k;
    int value = 0, v;

    for (k = keys; *k; k++) {
        if (!config_has(c, *k) || config_null(c, *k))
            continue;
        v = config_int(c, *k, 1, max, 0);
        if (found && v != value)
            err_set(c->e, ERR_INPUT, "'%s': %s is %d but %s is %d", c->what, found, value, *k, v);
        found = *k;
        value = v;
    }
    if (!found)
        err_set(c->e, ERR_INPUT, "'%s' has no %s", c->what, keys[0]);
    return value;
}

static void read_quantization(struct arch *a, struct config *c)
{
    const cJSON *q = config_get(c, "quantization_config");
    struct config d = {q, c->what, c->e};
    const char *method, *format, *key;
    char *value;

    if (cJSON_IsNull(q))
        q = NULL;
    a->claims = format_claims(q, a->claim);
    if (!q || a->claims > 1)
        return;
    method = config_string(&d, "quant_method");
    format = config_string(&d, "format");
    key = format_stumbles(q);
    value = key ? cJSON_PrintUnformatted(config_get(&d, key)) : NULL;
    snprintf(a->unread, sizeof a->unread, "the quantization '%.60s%s%.60s'%s%s%s%.60s is not read",
             method ? method : "(no name)", format ? ", " : "", format ? format : "", key ? " with " : "",
             key ? key : "", key ? " " : "",
             !key    ? ""
             : value ? value
                     : "missing");
    cJSON_free(value);
}

/* Which of both says how the model is quantized; that they say different things is an error. */
static struct config *quantized_config(struct config *root, struct config *text)
{
    const cJSON *outside = config_get(root, "quantization_config");
    const cJSON *inside = config_get(text, "quantization_config");

    if (outside && inside && !cJSON_Compare(outside, inside, true))
        err_set(root->e, ERR_INPUT, "'%s': quantization_config is another inside text_config", root->what);
    return outside ? root : text;
}

static void read_groups(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    const char *method = config_string(c, "topk_method");

    a->groups = a->topk_group = 1;
    if (f->group == GROUP_NONE)
        return;
    if (f->group == GROUP_MAX) {
        if (!method || strcmp(method, "greedy") == 0)
            return;
        if (strcmp(method, "group_limited_greedy") != 0) {
            err_set(c->e, ERR_UNKNOWN, "'%s': topk_method '%s' is not known", c->what, method);
            return;
        }
    }
    a->groups = config_int(c, "n_group", 1, a->experts, f->default_groups ? f->default_groups : 1);
    a->topk_group =
        config_int(c, "topk_group", 1, a->groups, f->default_topk_group ? f->default_topk_group : 1);
    if (a->groups > 1)
        a->group = f->group;
    if (a->experts % a->groups)
        err_set(c->e, ERR_INPUT, "'%s': %d experts do not divide into %d groups", c->what, a->experts,
                a->groups);
    else if (a->topk_group > a->groups)
        err_set(c->e, ERR_INPUT, "'%s': %d groups of %d make no sense", c->what, a->topk_group, a->groups);
    else if (a->topk_group * (a->experts / a->groups) < a->topk)
        err_set(c->e, ERR_INPUT, "'%s': %d groups of %d experts are too few for %d experts per token",
                c->what, a->topk_group, a->experts / a->groups, a->topk);
}

static void read_router(struct arch *a, struct config *c)
{
    const struct family *f = a->family;

    a->experts = agreed(c, f->key_experts, MAX_EXPERTS);
    a->topk = agreed(c, f->key_topk, MAX_EXPERTS);
    if (c->e->kind)
        return;
    if (a->topk > a->experts)
        err_set(c->e, ERR_INPUT, "'%s': %d experts per token of %d make no sense", c->what, a->topk,
                a->experts);
    a->renorm = f->renorm_rule == RENORM_ALWAYS ||
                (f->renorm_rule == RENORM_KEY && config_bool(c, "norm_topk_prob", f->default_renorm));
    if (f->scale_unless_renorm && a->topk == 1)
        a->renorm = false;
    a->gate_scale = f->default_gate_scale > 0 ? f->default_gate_scale : 1;
    if (f->gate_scaled)
        a->gate_scale = config_double(c, f->key_gate_scale ? f->key_gate_scale : "routed_scaling_factor", 0,
                                      1e6, a->gate_scale);
    if (f->scale_unless_renorm && a->renorm)
        a->gate_scale = 1;
    read_groups(a, c);
}

static void read_sizes(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    const char *act = config_string(c, "hidden_act"), *const * k;

    a->hidden = config_int(c, "hidden_size", 1, MAX_DIM, 0);
    a->layers = config_int(c, "num_hidden_layers", 1, MAX_LAYERS, 0);
    a->vocab = config_int(c, "vocab_size", 1, MAX_DIM, 0);
    a->inter = config_int(c, f->key_inter, 1, MAX_DIM, 0);
    a->eps = config_double(c, "rms_norm_eps", 0, 1, f->default_eps);
    a->max_position = config_int(c, "max_position_embeddings", 1, INT_MAX, 32768);
    a->tied = config_bool(c, "tie_word_embeddings", f->default_tied);
    a->act_limit = config_double(c, "swiglu_limit", 1e-6, INFINITY, f->act_limit);
    if (f->act == ACT_SILU_GLU && act && strcmp(act, "silu") != 0)
        err_set(c->e, ERR_UNKNOWN, "'%s': the activation '%s' is not known", c->what, act);
    if (c->e->kind)
        return;
    read_router(a, c);
    if (f->key_shared_count)
        a->shared_inter =
            a->inter * config_int(c, f->key_shared_count, 0, MAX_DIM / a->inter, f->default_shared);
    if (f->key_shared_width)
        a->shared_inter = config_int(c, f->key_shared_width, 0, MAX_DIM, f->default_shared);
    a->bias_head = f->use_bias && config_bool(c, f->key_attention_bias, f->default_attention_bias);
    a->bias_mlp = f->use_bias ? a->bias_head : config_bool(c, "mlp_bias", false);
    for (k = f->key_mtp; *k; k++)
        if (config_has(c, *k) && !config_null(c, *k))
            a->mtp_layers = config_int(c, *k, 0, MAX_LAYERS, 0);
}

static void read_text(struct arch *a, struct config *c)
{
    int i;

    read_sizes(a, c);
    if (c->e->kind)
        return;
    layers_read(a, c);
    for (i = 0; i < a->layers && !c->e->kind; i++)
        mixer_of(&a->layer[i])->read(a, c, &a->layer[i]);
    if (!c->e->kind)
        indexer_read(a, c);
}

int arch_read(struct arch *a, const cJSON *config, const char *what, const struct arch_options *o,
              struct err *e)
{
    struct err local = {0};
    struct config root = {config, what, &local}, text = root;

    *a = (struct arch){.prefix = "", .trunk = "model."};
    if (!cJSON_IsObject(config)) {
        err_set(&local, ERR_INPUT, "'%s' is not a JSON object", what);
    } else {
        a->family = find_family(&root);
        a->nested = cJSON_IsObject(config_get(&root, "text_config"));
        if (a->nested)
            text.obj = config_get(&root, "text_config");
        if (a->family) {
            a->corr_name = a->family->corr_name;
            keys_check(&text, a->nested ? &root : NULL, a->family, o);
            read_quantization(a, quantized_config(&root, &text));
            read_text(a, &text);
            if (a->nested && config_has(&root, "tie_word_embeddings") &&
                !config_has(&text, "tie_word_embeddings"))
                a->tied = config_bool(&root, "tie_word_embeddings", false);
        }
    }
    if (!local.kind)
        return 0;
    arch_free(a);
    return err_set(e, local.kind, "%s", local.msg);
}

void arch_free(struct arch *a)
{
    int i;

    for (i = 0; i < a->ropes; i++)
        free(a->rope[i].inv_freq);
    free(a->rope);
    free(a->layer);
    *a = (struct arch){0};
}
