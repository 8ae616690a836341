/*
 * model.c -- opening a model, and what is asked of it as a whole.
 */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/container.h"
#include "model/locate.h"
#include "model/parts.h"
#include "quant/bf16.h"

/* ---- opening ---- */

/* The experts' storage, from the first MoE layer's tensors; checked against the rest by check_tensors. */
static int detect_layout(struct model *m, struct err *e)
{
    const struct family *f = m->arch.family;
    char packed[64];
    int i;

    for (i = 0; m->arch.layer[i].ffn != FFN_MOE; i++)
        ;
    m->ffn_module = f->ffn_module;
    snprintf(packed, sizeof packed, "experts.0.%s.weight_packed", f->expert_gate ? f->expert_gate : "");
    if (model_ffn_tensor(m, i, "experts.gate_up_proj_blocks")) {
        m->layout = EXPERTS_MXFP4;
    } else if (model_ffn_tensor(m, i, "experts.gate_up_proj")) {
        m->layout = f->fused_layout;
    } else if (f->expert_gate && model_ffn_tensor(m, i, packed)) {
        m->layout = EXPERTS_SPLIT_MXFP4;
    } else if (f->fused_module &&
               (m->ffn_module = f->fused_module, model_ffn_tensor(m, i, "experts.gate_up_proj"))) {
        m->layout = f->fused_layout;
    } else if (f->expert_gate) {
        m->ffn_module = f->ffn_module;
        m->layout = EXPERTS_SPLIT;
    } else {
        return err_set(e, ERR_INPUT,
                       "'%s': tensor 'model.layers.%d.%s.experts.gate_up_proj' is missing (also as _blocks)",
                       m->dir, i, f->ffn_module);
    }
    if (m->layout == EXPERTS_MXFP4 && (!m->arch.mxfp4_config || f->fused_layout != EXPERTS_INTERLEAVED_IO))
        return err_set(e, ERR_INPUT,
                       "'%s' has MXFP4 experts, but config.json does not say quant_method mxfp4", m->dir);
    if (m->layout == EXPERTS_SPLIT_MXFP4 && !m->arch.ct_mxfp4_config)
        return err_set(e, ERR_INPUT,
                       "'%s' has packed MXFP4 experts, but config.json does not say mxfp4-pack-quantized",
                       m->dir);
    return 0;
}

/* config.json, from wherever the container has it. */
static int read_config(struct model *m, const struct model_options *o, struct err *e)
{
    cJSON *config = NULL;
    int r = checkpoint_config(&m->ckpt, &m->config_text, &m->config_n, &m->config_name, e) ||
                    json_parse(m->config_text, m->config_n, m->config_name, &config, e) ||
                    arch_read(&m->arch, config, m->config_name, o ? &o->arch : NULL, e)
                ? -1
                : 0;

    cJSON_Delete(config);
    return r;
}

static int open_all(struct model *m, const char *arg, const struct model_options *o, struct err *e)
{
    const struct container *c;
    size_t i;

    m->containers = o ? o->containers : NULL;
    c = container_of(arg, m->containers);
    if (c && !c->folder)
        m->dir = mem_strdup(arg, e);
    else if (model_locate(arg, "config.json", &m->dir, &m->revision, e))
        return -1;
    if (!m->dir || checkpoint_open(&m->ckpt, m->dir, m->containers, e) || read_config(m, o, e) ||
        checkpoint_tensors(&m->ckpt, &m->arch, false, e))
        return -1;
    if (checkpoint_find(&m->ckpt, "language_model.model.embed_tokens.weight"))
        m->arch.prefix = "language_model.";
    m->role = mem_new(m->ckpt.n, sizeof *m->role, e);
    if (!m->role)
        return -1;
    for (i = 0; i < m->ckpt.n; i++)
        m->role[i] = role_of(&m->arch, m->ckpt.tensor[i]->name);
    return detect_layout(m, e) || check_tensors(m, e) ? -1 : 0;
}

int model_open(struct model *m, const char *arg, const struct model_options *o, struct err *e)
{
    *m = (struct model){0};
    if (open_all(m, arg, o, e) == 0)
        return 0;
    model_close(m);
    return -1;
}

void model_close(struct model *m)
{
    checkpoint_close(&m->ckpt);
    arch_free(&m->arch);
    free(m->role);
    free(m->config_text);
    free(m->config_name);
    free(m->dir);
    free(m->revision);
    *m = (struct model){0};
}

/* ---- sizes and digests ---- */

uint64_t model_expert_bytes(const struct model *m, int layer)
{
    uint64_t bytes = 0;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++) {
        if (m->role[i].layer != layer)
            continue;
        if (m->role[i].role == ROLE_EXPERTS)
            bytes += m->ckpt.tensor[i]->size / (uint64_t)m->arch.experts;
        else if (m->role[i].role == ROLE_EXPERT && m->role[i].expert == 0)
            bytes += m->ckpt.tensor[i]->size;
    }
    return bytes;
}

int model_read_f32(const struct model *m, const struct tensor *t, float *dst, struct err *e)
{
    size_t n = (size_t)tensor_count(t);
    uint16_t *half;

    if (t->dtype == DT_F32)
        return checkpoint_read(&m->ckpt, t, 0, dst, n * 4, e);
    if (t->dtype != DT_BF16 && t->dtype != DT_F16)
        return err_set(e, ERR_INPUT, "'%s': tensor '%s' has dtype %s where BF16, F16 or F32 is needed",
                       m->dir, t->name, dtype_name(t->dtype));
    half = mem_new_aligned(n, 2, e);
    if (!half)
        return -1;
    if (checkpoint_read(&m->ckpt, t, 0, half, n * 2, e)) {
        free(half);
        return -1;
    }
    if (t->dtype == DT_BF16)
        bf16_to_f32_n(half, dst, n);
    else
        f16_to_f32_n(half, dst, n);
    free(half);
    return 0;
}

int model_digest(const struct model *m, char out[HASH_HEX], struct err *e)
{
    const struct arch *a = &m->arch;
    struct hash *h = hash_new(e);
    float *w = mem_new((size_t)a->experts * (size_t)a->hidden, sizeof *w, e);
    char text[128];
    int i, r = -1;

    if (!h || !w)
        goto done;
    snprintf(text, sizeof text, "%s %d %d %d %d", a->family->name, a->layers, a->experts, a->topk, a->hidden);
    hash_add(h, text, strlen(text));
    for (i = 0; i < a->layers; i++) {
        if (a->layer[i].ffn != FFN_MOE)
            continue;
        snprintf(text, sizeof text, "%s.weight", a->family->router);
        if (model_read_f32(m, model_ffn_tensor(m, i, text), w, e))
            goto done;
        hash_add(h, w, (size_t)a->experts * (size_t)a->hidden * sizeof *w);
    }
    hash_hex(h, out);
    r = 0;
done:
    hash_free(h);
    free(w);
    return r;
}
