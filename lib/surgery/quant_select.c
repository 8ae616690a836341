#include "surgery/quant_select.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/words.h"
#include "model/slots.h"
#include "quant/mxfp4.h"

static bool matches(const char *name, const char *const *globs)
{
    for (; globs && *globs; globs++)
        if (fnmatch(*globs, name, 0) == 0)
            return true;
    return false;
}

static bool is_expert_weight(const struct model *m, size_t i)
{
    enum role r = m->role[i].role;

    return (r == ROLE_EXPERT || r == ROLE_EXPERTS) && m->role[i].use == USE_WEIGHT &&
           dtype_is_float(m->ckpt.tensor[i]->dtype);
}

/* ---- to MXFP4 ---- */

/* Elements of a row: the dimension that is summed over. */
static uint64_t row_length(const struct model *m, size_t i)
{
    const struct tensor *t = m->ckpt.tensor[i];

    return t->shape[m->layout == EXPERTS_INTERLEAVED ? t->rank - 2 : t->rank - 1];
}

static int check_chosen(const struct model *m, size_t i, struct err *e)
{
    const struct tensor *t = m->ckpt.tensor[i];
    const char *why = NULL;
    struct slot s = {.id = SLOT_NONE, .linear = true}; /* of an MTP layer */

    slot_of(m, i, &s);
    if (m->role[i].role == ROLE_ROUTER)
        why = "is a router, which stays as it is";
    else if (s.id == SLOT_SHARED_SWITCH)
        why = "is the gate of a shared expert, which stays as it is";
    else if (strncmp(t->name, m->arch.prefix, strlen(m->arch.prefix)) != 0)
        why = "is no part of the language model";
    else if (m->layout == EXPERTS_INTERLEAVED && !is_expert_weight(m, i))
        why = "is no expert's weight, and the MXFP4 layout of this family has no other";
    else if (s.id == SLOT_EMBEDDING)
        why = "is an embedding, not a linear layer";
    else if (!s.linear || !dtype_is_float(t->dtype) || t->rank < 2 ||
             (!is_expert_weight(m, i) && !ends_with(t->name, ".weight")))
        why = "is not the weight of a linear layer";
    if (why)
        return err_set(e, ERR_INPUT, "tensor '%s' %s: leave it out with --exclude", t->name, why);
    if (row_length(m, i) % MXFP4_BLOCK)
        return err_set(
            e, ERR_INPUT,
            "tensor '%s' has rows of %llu elements, MXFP4 needs a multiple of %d: leave it out with "
            "--exclude",
            t->name, (unsigned long long)row_length(m, i), MXFP4_BLOCK);
    return 0;
}

/* Runtimes have one number format for all routed experts. */
static int check_experts(const struct model *m, const bool *chosen, struct err *e)
{
    const struct tensor *in = NULL, *out = NULL;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++)
        if (is_expert_weight(m, i)) {
            in = chosen[i] ? m->ckpt.tensor[i] : in;
            out = chosen[i] ? out : m->ckpt.tensor[i];
        }
    if (in && out)
        return err_set(e, ERR_INPUT,
                       "'%s' would become MXFP4 but '%s' would not: convert all routed experts or none",
                       in->name, out->name);
    return 0;
}

/* Models that no MXFP4 layout is known for, or that are in another format. */
static int check_source(const struct model *m, struct err *e)
{
    size_t i;

    for (i = 0; i < (size_t)m->arch.claims; i++)
        if (m->arch.claim[i].format->encode)
            return err_set(e, ERR_INPUT, "'%s' is quantized already: make it BF16 first (-t bf16)", m->dir);
    for (i = 0; i < m->ckpt.n; i++)
        if (m->role[i].format && m->role[i].format->name)
            return err_set(e, ERR_UNKNOWN,
                           "'%s': tensor '%s' is %s, and only BF16, F16 and F32 become MXFP4: start from the "
                           "model's BF16 checkpoint",
                           m->dir, m->ckpt.tensor[i]->name, m->role[i].format->name);
    for (i = 0; i < m->ckpt.n; i++)
        if (m->role[i].role == ROLE_EXPERTS && m->layout != EXPERTS_INTERLEAVED)
            return err_set(
                e, ERR_UNKNOWN,
                "'%s': tensor '%s' holds all experts of a layer (%s), and no MXFP4 layout is known "
                "for that in the family %s",
                m->dir, m->ckpt.tensor[i]->name, expert_layout_name(m->layout), m->arch.family->name);
    return 0;
}

static int select_mxfp4(const struct model *m, const struct quantize_options *o, bool *chosen, struct err *e)
{
    bool any = false;
    size_t i;

    if (check_source(m, e))
        return -1;
    for (i = 0; i < m->ckpt.n; i++) {
        const char *name = m->ckpt.tensor[i]->name;

        chosen[i] =
            (o->include ? matches(name, o->include) : is_expert_weight(m, i)) && !matches(name, o->exclude);
        if (chosen[i] && check_chosen(m, i, e))
            return -1;
        any = any || chosen[i];
    }
    if (!any)
        return err_set(e, ERR_INPUT, "no tensor of '%s' is left to convert: look at --include and --exclude",
                       m->dir);
    return check_experts(m, chosen, e);
}

/* ---- to BF16 ---- */

static const char *const packed_end[] = {"_blocks", ".weight_packed"};
static const char *const scale_end[] = {"_scales", ".weight_scale"};

/* Whether tensor i is of a format that BF16 holds exactly, and which part of it. */
static bool is_exact(const struct model *m, size_t i, enum piece_use use)
{
    const struct tensor_role *r = &m->role[i];

    return r->format && r->format->exact && r->use == use;
}

static int select_bf16(const struct model *m, const struct quantize_options *o, bool *chosen, struct err *e)
{
    bool any = false;
    size_t i;

    if (o->include || o->exclude)
        return err_set(e, ERR_USAGE,
                       "--include and --exclude go with -t mxfp4: everything MXFP4 becomes BF16");
    for (i = 0; i < m->ckpt.n; i++) {
        chosen[i] = is_exact(m, i, USE_WEIGHT);
        any = any || chosen[i];
    }
    return any ? 0
               : err_set(e, ERR_INPUT, "'%s' holds no MXFP4 tensor: there is nothing to convert%s", m->dir,
                         m->arch.claims > 1 ? " (FP8 is not decoded)" : "");
}

bool *quant_select(const struct model *m, enum quant_format to, const struct quantize_options *o,
                   struct err *e)
{
    bool *chosen = mem_new(m->ckpt.n, sizeof *chosen, e);

    if (!chosen)
        return NULL;
    if (to == QF_MXFP4 ? select_mxfp4(m, o, chosen, e) : select_bf16(m, o, chosen, e)) {
        free(chosen);
        return NULL;
    }
    return chosen;
}

/* ---- new names and shapes ---- */

/* BF16 [.., a, b] becomes blocks and scales: [E, out, in/32, 16] and [E, out, in/32] in the GPT-OSS layout,
 * [out, in/2] and [out, in/32] in that of compressed-tensors. */
static int plan_encode(struct rewrite *rw, size_t i, struct err *e)
{
    const struct tensor *from = rw->m->ckpt.tensor[i];
    bool oss = rw->m->layout == EXPERTS_INTERLEAVED;
    int base = (int)strlen(from->name) - (oss ? 0 : (int)strlen(".weight")), r = from->rank;
    uint64_t in = from->shape[oss ? r - 2 : r - 1], out = from->shape[oss ? r - 1 : r - 2];
    struct out_tensor *t = rewrite_add(rw, i, e), *s;

    if (!t)
        return -1;
    t->op = oss ? QOP_ENCODE_IO : QOP_ENCODE;
    t->t.dtype = DT_U8;
    t->t.name = rewrite_name(rw, mem_printf(e, "%.*s%s", base, from->name, packed_end[!oss]), e);
    if (!t->t.name)
        return -1;
    t->t.shape[r - 2] = out;
    if (oss) {
        t->t.shape[r - 1] = in / MXFP4_BLOCK;
        t->t.shape[r] = MXFP4_BYTES;
        t->t.rank = r + 1;
    } else {
        t->t.shape[r - 1] = in / 2;
    }
    s = rewrite_add(rw, i, e);
    if (!s)
        return -1;
    s->op = QOP_SCALES;
    s->t.dtype = DT_U8;
    s->t.name = rewrite_name(rw, mem_printf(e, "%.*s%s", base, from->name, scale_end[!oss]), e);
    s->t.shape[r - 2] = out;
    s->t.shape[r - 1] = in / MXFP4_BLOCK;
    return s->t.name ? 0 : -1;
}

static int plan_decode(struct rewrite *rw, size_t i, struct err *e)
{
    const struct tensor *from = rw->m->ckpt.tensor[i];
    int kind = rw->m->role[i].role == ROLE_EXPERTS ? 0 : 1, r = from->rank;
    int base = (int)(strlen(from->name) - strlen(packed_end[kind]));
    char *scale = mem_printf(e, "%.*s%s", base, from->name, scale_end[kind]);
    struct out_tensor *t = rewrite_add(rw, i, e);

    if (!scale || !t) {
        free(scale);
        return -1;
    }
    t->also = checkpoint_find(&rw->m->ckpt, scale);
    if (!t->also || t->also->size != from->size / MXFP4_BYTES) {
        err_set(e, ERR_INPUT, "'%s': tensor '%s' has no '%s' of the right size", rw->m->dir, from->name,
                scale);
        free(scale);
        return -1;
    }
    free(scale);
    t->op = kind == 0 ? QOP_DECODE_IO : QOP_DECODE;
    t->t.dtype = DT_BF16;
    t->t.name = rewrite_name(rw, mem_printf(e, "%.*s%s", base, from->name, kind == 0 ? "" : ".weight"), e);
    if (kind == 0) { /* [E, out, in/32, 16] -> [E, in, out] */
        t->t.rank = r - 1;
        t->t.shape[r - 2] = from->shape[r - 3];
        t->t.shape[r - 3] = from->shape[r - 2] * MXFP4_BLOCK;
    } else {
        t->t.shape[r - 1] *= 2;
    }
    return t->t.name ? 0 : -1;
}

static int by_reference_order(const void *a, const void *b)
{
    const struct tensor *x = &((const struct out_tensor *)a)->t, *y = &((const struct out_tensor *)b)->t;

    return x->dtype != y->dtype ? (x->dtype < y->dtype ? 1 : -1) : strcmp(x->name, y->name);
}

int quant_plan(struct rewrite *rw, const bool *chosen, enum quant_format to, struct err *e)
{
    const struct model *m = rw->m;
    size_t i;
    int k, r = 0;

    for (i = 0; i < m->ckpt.n && !r; i++) {
        if (chosen[i])
            r = to == QF_MXFP4 ? plan_encode(rw, i, e) : plan_decode(rw, i, e);
        else if (to == QF_MXFP4 || !is_exact(m, i, USE_SCALE))
            r = rewrite_add(rw, i, e) ? 0 : -1;
    }
    for (k = 0; k < m->ckpt.shards && !r; k++)
        if (rw->shard[k].n)
            qsort(rw->shard[k].out, rw->shard[k].n, sizeof *rw->shard[k].out, by_reference_order);
    return r;
}

/* ---- config.json ---- */

static void oss_config(struct json_out *j)
{
    static const char *const kept[] = {"model.layers.*.self_attn", "model.layers.*.mlp.router",
                                       "model.embed_tokens", "lm_head"};
    size_t i;

    jo_open(j, "modules_to_not_convert", '[');
    for (i = 0; i < sizeof kept / sizeof *kept; i++)
        jo_string(j, NULL, kept[i]);
    jo_close(j);
    jo_string(j, "quant_method", "mxfp4");
}

/* The one group: weight-only MXFP4 for all linear layers. */
static void ct_group(struct json_out *j)
{
    jo_open(j, "config_groups", '{');
    jo_open(j, "group_0", '{');
    jo_string(j, "format", "mxfp4-pack-quantized");
    jo_null(j, "input_activations");
    jo_null(j, "output_activations");
    jo_open(j, "targets", '[');
    jo_string(j, NULL, "Linear");
    jo_close(j);
    jo_open(j, "weights", '{');
    jo_bool(j, "dynamic", false);
    jo_int(j, "group_size", 32);
    jo_int(j, "num_bits", 4);
    jo_string(j, "scale_dtype", "torch.uint8");
    jo_string(j, "strategy", "group");
    jo_bool(j, "symmetric", true);
    jo_string(j, "type", "float");
    jo_close(j);
    jo_close(j);
    jo_close(j);
}

/* The names of the linear layers that are not converted. Every name is written out: runtimes that fuse q, k
 * and v look for each of the three. */
static int ct_ignore(struct json_out *j, const struct model *m, const bool *chosen, struct err *e)
{
    bool head = false;
    size_t i;

    jo_open(j, "ignore", '[');
    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];
        char *module;

        head = head || strcmp(t->name, "lm_head.weight") == 0;
        if (chosen[i] || t->rank != 2 || !ends_with(t->name, ".weight") ||
            ends_with(t->name, "embed_tokens.weight"))
            continue;
        module = mem_strndup(t->name, strlen(t->name) - strlen(".weight"), e);
        if (!module)
            return -1;
        jo_string(j, NULL, module);
        free(module);
    }
    if (!head) /* tied to the embedding, but a module of the runtime all the same */
        jo_string(j, NULL, "lm_head");
    jo_close(j);
    return 0;
}

static int ct_config(struct json_out *j, const struct model *m, const bool *chosen, struct err *e)
{
    ct_group(j);
    jo_string(j, "format", "mxfp4-pack-quantized");
    if (ct_ignore(j, m, chosen, e))
        return -1;
    jo_string(j, "quant_method", "compressed-tensors");
    jo_string(j, "quantization_status", "compressed");
    return 0;
}

/* The value of quantization_config. */
static int config_value(struct json_out *j, const struct model *m, const bool *chosen, struct err *e)
{
    jo_open(j, NULL, '{');
    if (m->layout == EXPERTS_INTERLEAVED)
        oss_config(j);
    else if (ct_config(j, m, chosen, e))
        return -1;
    jo_close(j);
    return str_ok(&j->s, e);
}

int quant_config(const struct model *m, const bool *chosen, enum quant_format to, char **text, size_t *n,
                 struct err *e)
{
    static const char *const path[] = {"quantization_config", NULL};
    char *what = path_join(m->dir, "config.json", e);
    struct json_out j = {.pretty = true, .base = 1};
    int r = -1;

    *n = m->config_n;
    *text = what ? mem_strndup(m->config_text, m->config_n, e) : NULL;
    if (!*text)
        goto done;
    if (to == QF_BF16) {
        r = json_remove(text, n, what, path, e);
    } else {
        r = config_value(&j, m, chosen, e) ? -1 : json_set(text, n, what, path, j.s.p, e);
    }
done:
    if (r < 0) {
        free(*text);
        *text = NULL;
    }
    str_free(&j.s);
    free(what);
    return r < 0 ? -1 : 0;
}
