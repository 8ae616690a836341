/*
 * model.c -- opening a model, and what is asked of it as a whole.
 */
#include "model/model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/container.h"
#include "model/locate.h"
#include "model/parts.h"
#include "quant/floats.h"

/* ---- opening ---- */

static int first_moe_layer(const struct arch *a)
{
    int i = 0;

    while (a->layer[i].ffn != FFN_MOE)
        i++;
    return i;
}

/* Whether experts of this layout are there, in one of the formats that config.json announces. */
static bool has_experts(struct model *m, const char *module, enum expert_layout layout)
{
    struct linear_tensors l;

    m->ffn_module = module;
    m->layout = layout;
    return module &&
           model_expert_linear(m, first_moe_layer(&m->arch), 0,
                               layout_fused(layout) ? PART_GATE_UP : PART_GATE, &l) &&
           (!l.as->format->interleaved || layout == EXPERTS_INTERLEAVED);
}

/* The experts were not found: why. */
static int no_experts(const struct model *m, struct err *e)
{
    const struct family *f = m->arch.family;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor_role *r = &m->role[i];

        if ((r->role == ROLE_EXPERTS || (r->role == ROLE_EXPERT && !*m->arch.unread)) &&
            r->part != PART_NONE && !r->piece && r->use != USE_BIAS)
            return err_set(e, ERR_INPUT,
                           "'%s': tensor '%s' (%s) is in no format that config.json announces in "
                           "quantization_config",
                           m->dir, m->ckpt.tensor[i]->name, dtype_name(m->ckpt.tensor[i]->dtype));
    }
    if (f->expert_gate)
        return 0; /* check_tensors says which tensor is missing */
    return err_set(e, ERR_INPUT,
                   "'%s': tensor '%slayers.%d.%s.experts.gate_up_proj' is missing (also as _blocks)", m->dir,
                   m->arch.trunk, first_moe_layer(&m->arch), f->ffn_module);
}

/* Of experts that may lie either way, whether the weight of a part is [E, out, in]; where both would fit the
 * same, the other part tells. */
static bool output_major(const struct model *m)
{
    const struct arch *a = &m->arch;
    bool down = 2 * a->inter == a->hidden;
    uint64_t out = (uint64_t)(down ? a->hidden : 2 * a->inter), in = (uint64_t)(down ? a->inter : a->hidden);
    struct linear_tensors l;
    const struct tensor *t;

    model_expert_linear(m, first_moe_layer(a), 0, down ? PART_DOWN : PART_GATE_UP, &l);
    t = l.piece[USE_WEIGHT];
    return t && t->rank == 3 && t->shape[1] == out && t->shape[2] == in;
}

/* How the experts lie together, from the first MoE layer's tensors; checked against the rest by
 * check_tensors. Containers other than folders have layouts of their own. */
static int detect_layout(struct model *m, struct err *e)
{
    const struct family *f = m->arch.family;

    if (!m->ckpt.container->folder &&
        (has_experts(m, f->ffn_module, EXPERTS_STACKED) || has_experts(m, f->ffn_module, EXPERTS_FUSED)))
        return 0;
    if (f->fused_by_shape && has_experts(m, f->ffn_module, EXPERTS_FUSED) && output_major(m))
        return 0;
    if (has_experts(m, f->ffn_module, f->fused_layout) ||
        (f->expert_gate && has_experts(m, f->ffn_module, EXPERTS_SPLIT)) ||
        has_experts(m, f->fused_module, f->fused_layout))
        return 0;
    m->ffn_module = f->ffn_module;
    m->layout = f->expert_gate ? EXPERTS_SPLIT : f->fused_layout;
    return no_experts(m, e);
}

/* What each tensor is, by its name and dtype. */
static int find_roles(struct model *m, struct err *e)
{
    size_t i;

    m->role = mem_new(m->ckpt.n, sizeof *m->role, e);
    for (i = 0; m->role && i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];
        struct tensor_role r = role_of(&m->arch, t->name);

        if (r.use != USE_BIAS)
            r.piece = format_find_piece(m->arch.claim, m->arch.claims, t->name, r.role == ROLE_EXPERTS,
                                        t->dtype, &r.as);
        if (r.piece)
            r.use = r.piece->use;
        if (r.role == ROLE_EXPERTS && !t->rank)
            r.axis = -1;
        m->role[i] = r;
    }
    return m->role ? 0 : -1;
}

/* config.json, from wherever the container has it. */
static int read_config(struct model *m, const struct model_options *o, struct err *e)
{
    cJSON *config = NULL;
    int r = checkpoint_config(&m->ckpt, &m->config_text, &m->config_n, &m->config_name, e) ||
                    json_parse(m->config_text, m->config_n, m->config_name, &config, e) ||
                    (m->ckpt.container->folder && quantization_beside(config, m->dir, e)) ||
                    arch_read(&m->arch, config, m->config_name, o ? &o->arch : NULL, e)
                ? -1
                : 0;

    cJSON_Delete(config);
    return r;
}

static bool any_begins(const struct model *m, const char *with)
{
    size_t i = checkpoint_from(&m->ckpt, with);

    return i < m->ckpt.n && strncmp(m->ckpt.tensor[i]->name, with, strlen(with)) == 0;
}

/* What multimodal models put around the names of their language model. */
static void find_stem(struct model *m)
{
    static const char before[] = "language_model.", within[] = "model.language_model.";

    if (any_begins(m, before))
        m->arch.prefix = before;
    else if (any_begins(m, within))
        m->arch.trunk = within;
}

/* Which of two names the correction bias has, as this checkpoint has it. */
static void find_correction(struct model *m)
{
    const struct family *f = m->arch.family;

    m->ffn_module = f->ffn_module;
    if (f->corr_other && model_ffn_tensor(m, first_moe_layer(&m->arch), f->corr_other))
        m->arch.corr_name = f->corr_other;
}

/* Which maps of attention are one tensor or several: as GGUF files have them. */
static void find_attention(struct model *m)
{
    bool two = model_tensor(m, 0, "self_attn.k_b_proj.weight") != NULL;
    bool one = !m->ckpt.container->folder && model_tensor(m, 0, "self_attn.qkv_proj.weight") != NULL;
    int i;

    for (i = 0; i < m->arch.layers; i++) {
        m->arch.layer[i].latent.kv_two = two;
        m->arch.layer[i].attn.qkv_one = one;
    }
}

/* For the digest, where the tensors that tell the layout may be missing: only the module's name. */
static void find_module(struct model *m)
{
    const struct family *f = m->arch.family;
    char router[64];

    snprintf(router, sizeof router, "%s.weight", f->router);
    m->ffn_module = f->ffn_module;
    if (f->fused_module && !model_ffn_tensor(m, first_moe_layer(&m->arch), router))
        m->ffn_module = f->fused_module;
}

/* Whether all tensors are plain numbers, so that a quantization_config that is not read is left over. */
static bool is_plain(struct model *m, const struct model_options *o)
{
    struct model_options all = o ? *o : (struct model_options){0};
    struct err e = {0};

    all.level = MODEL_RUN;
    return detect_layout(m, &e) == 0 && check_tensors(m, &all, &e) == 0 && !model_coded(m);
}

static int open_all(struct model *m, const char *arg, const struct model_options *o, struct err *e)
{
    enum model_level level = o ? o->level : MODEL_RUN;
    const struct container *c;

    m->containers = o ? o->containers : NULL;
    c = container_of(arg, m->containers);
    if (c && !c->folder)
        m->dir = mem_strdup(arg, e);
    else if (model_locate(arg, "config.json", &m->dir, &m->revision, e))
        return -1;
    if (!m->dir || input_dir(m->dir, e) || checkpoint_open(&m->ckpt, m->dir, m->containers, e) ||
        read_config(m, o, e))
        return -1;
    if (checkpoint_tensors(&m->ckpt, &m->arch, level == MODEL_DIGEST, e))
        return -1;
    find_stem(m);
    find_correction(m);
    find_attention(m);
    if (find_roles(m, e))
        return -1;
    if (*m->arch.unread && level != MODEL_DIGEST && is_plain(m, o))
        return 0;
    if (*m->arch.unread && level == MODEL_RUN)
        return err_set(e, ERR_UNKNOWN, "'%s': %s", m->config_name, m->arch.unread);
    if (*m->arch.unread && !(m->cut_only = mem_printf(e, "'%s': %s", m->config_name, m->arch.unread)))
        return -1;
    if (level == MODEL_DIGEST)
        find_module(m);
    else if (detect_layout(m, e))
        return -1;
    return check_tensors(m, o, e);
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
    if (m->dir)
        input_dir_release(m->dir);
    free(m->cut_only);
    free(m->dir);
    free(m->revision);
    *m = (struct model){0};
}

/* ---- sizes and digests ---- */

bool model_coded(const struct model *m)
{
    size_t i = 0;

    while (i < m->ckpt.n && (!m->role[i].as || role_format(&m->role[i]) == &format_plain))
        i++;
    return i < m->ckpt.n;
}

const struct format *model_expert_format(const struct model *m)
{
    enum part part = layout_fused(m->layout) ? PART_GATE_UP : PART_GATE;
    struct linear_tensors l;

    model_expert_linear(m, first_moe_layer(&m->arch), 0, part, &l);
    return l.as->format;
}

uint64_t model_expert_bytes(const struct model *m, int layer)
{
    uint64_t bytes = 0;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++) {
        if (m->role[i].layer != layer)
            continue;
        if (m->role[i].role == ROLE_EXPERTS && m->role[i].axis >= 0)
            bytes += m->ckpt.tensor[i]->size / (uint64_t)m->arch.experts;
        else if (m->role[i].role == ROLE_EXPERT && m->role[i].expert == 0)
            bytes += m->ckpt.tensor[i]->size;
    }
    return bytes;
}

/* count numbers of a dtype that needs nothing beside it; false: it is none. */
static bool numbers_of(const struct tensor *t, const uint8_t *raw, float *dst)
{
    static const struct format_claim blocks = {.format = &format_ggml};
    size_t n = (size_t)tensor_count(t), in = t->rank ? (size_t)t->shape[t->rank - 1] : 1;
    struct stored s = {.piece[USE_WEIGHT] = {.at = raw, .dtype = t->dtype}};

    if (dtype_is_float(t->dtype)) {
        floats_to_f32(t->dtype, raw, n, dst);
        return true;
    }
    if (!(DT_GGML >> t->dtype & 1) || !in || n / in > INT_MAX || in > INT_MAX)
        return false;
    format_describe(&s, &blocks, (int)(n / in), (int)in, false);
    stored_rows(&s, 0, s.out, dst, in, false);
    return true;
}

int model_read_f32(const struct model *m, const struct tensor *t, float *dst, struct err *e)
{
    uint8_t *raw = mem_new_aligned((size_t)t->size, 1, e);
    int r = raw ? checkpoint_read(&m->ckpt, t, 0, raw, (size_t)t->size, e) : -1;

    if (!r && !numbers_of(t, raw, dst))
        r = err_set(e, ERR_INPUT, "'%s': tensor '%s' has dtype %s where BF16, F16 or F32 is needed", m->dir,
                    t->name, dtype_name(t->dtype));
    free(raw);
    return r;
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
