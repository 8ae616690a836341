/*
 * slots.c -- the list of a layer's tensors: norms, then the mixer's, then those of the experts or the MLP.
 */
#include "model/slots.h"

#include <stdio.h>
#include <string.h>

#include "model/mixer.h"
#include "model/parts.h"

#define ROW(ID, name) [MIXER_##ID] = &mixer_##name,
static const struct mixer *const mixers[MIXER_KINDS] = {MIXERS(ROW)};
#undef ROW

const struct mixer *mixer_of(const struct layer_arch *l)
{
    return mixers[l->mixer];
}

/* A slot's name within a module. */
static void set_name(struct slot *s, const char *module, const char *name)
{
    snprintf(s->name, sizeof s->name, "%s.%s", module, name);
}

/* gate, up and down of a dense MLP or a shared expert; id: of the gate. */
static int mlp_slots(const struct arch *a, const char *module, int width, enum slot_id id,
                     enum slot_owner owner, struct slot *s)
{
    static const char *const name[] = {"gate_proj", "up_proj", "down_proj"};
    int i;

    for (i = 0; i < 3; i++) {
        s[i] = (struct slot){.id = id + (unsigned)i,
                             .out = i < 2 ? width : a->hidden,
                             .in = i < 2 ? a->hidden : width,
                             .bias = a->bias_mlp,
                             .linear = true,
                             .owner = owner,
                             .at = i < 2 ? MLP_GATE_UP : MLP_DOWN};
        set_name(&s[i], module, name[i]);
    }
    return 3;
}

static int router_slots(const struct arch *a, const char *module, struct slot *s)
{
    const struct family *f = a->family;
    int n = 0;

    s[n] = (struct slot){SLOT_ROUTER,        "",   a->experts,          a->hidden,
                         f->router_bias,     true, .role = ROLE_ROUTER, .owner = OF_ROUTER,
                         .at = ROUTER_LOGITS};
    set_name(&s[n++], module, f->router);
    if (a->corr_name) {
        s[n] = (struct slot){SLOT_CORRECTION,     .out = a->experts,  .row = f->corr_row,
                             .role = ROLE_ROUTER, .owner = OF_ROUTER, .at = ROUTER_CORRECTION};
        set_name(&s[n++], module, a->corr_name);
    }
    return n;
}

bool router_tensor(const struct arch *a, const char *name, int *axis)
{
    struct slot s[LAYER_SLOTS];
    int i, n = router_slots(a, "", s);

    for (i = 0; i < n; i++) {
        const char *own = s[i].name + 1; /* behind the dot */
        size_t k = strlen(own);
        bool mine = strncmp(name, own, k) == 0;

        *axis = s[i].row;
        if (mine && (s[i].in ? strcmp(name + k, ".weight") == 0 || strcmp(name + k, ".bias") == 0 : !name[k]))
            return true;
    }
    *axis = 0;
    return false;
}

static int shared_slots(const struct arch *a, const char *module, struct slot *s)
{
    const struct family *f = a->family;
    char shared[SLOT_NAME / 2];
    int n;

    if (!f->shared_module || !a->shared_inter)
        return 0;
    snprintf(shared, sizeof shared, "%s.%s", module, f->shared_module);
    n = mlp_slots(a, shared, a->shared_inter, SLOT_SHARED_GATE, OF_SHARED, s);
    if (f->shared_gated) {
        s[n] = (struct slot){SLOT_SHARED_SWITCH,        "", 1, a->hidden, .owner = OF_ROUTER,
                             .at = ROUTER_SHARED_SWITCH};
        set_name(&s[n++], module, "shared_expert_gate");
    }
    return n;
}

static int expert_slots(const struct model *m, struct slot *s)
{
    static const enum part each[] = {PART_GATE, PART_UP, PART_DOWN}, fused[] = {PART_GATE_UP, PART_DOWN};
    const struct arch *a = &m->arch;
    bool split = m->layout == EXPERTS_SPLIT, apart = !layout_fused(m->layout);
    int n = apart ? 3 : 2, i;
    char name[SLOT_NAME / 2];

    for (i = 0; i < n; i++) {
        enum part p = apart ? each[i] : fused[i];
        bool down = p == PART_DOWN;
        int width = p == PART_GATE_UP ? 2 * a->inter : a->inter;

        s[i] = (struct slot){.id = SLOT_EXPERT_GATE + (p - PART_GATE),
                             .out = down ? a->hidden : width,
                             .in = down ? a->inter : a->hidden,
                             .bias = !split && a->family->expert_bias,
                             .linear = true,
                             .role = split ? ROLE_EXPERT : ROLE_EXPERTS,
                             .owner = OF_EXPERTS,
                             .at = down ? MLP_DOWN : MLP_GATE_UP};
        if (split)
            snprintf(name, sizeof name, "experts.%%d.%s", part_module(a->family, p));
        else
            snprintf(name, sizeof name, "experts.%s", fused_part(p));
        set_name(&s[i], m->ffn_module, name);
    }
    return n;
}

static int ffn_slots(const struct model *m, const struct layer_arch *l, struct slot *s)
{
    const struct arch *a = &m->arch;
    int n;

    if (l->ffn != FFN_MOE)
        return mlp_slots(a, a->family->dense_module ? a->family->dense_module : a->family->ffn_module,
                         a->dense_inter, SLOT_GATE, OF_DENSE, s);
    n = router_slots(a, m->ffn_module, s);
    n += shared_slots(a, m->ffn_module, s + n);
    return n + expert_slots(m, s + n);
}

int layer_slots(const struct model *m, int layer, struct slot *s)
{
    const struct arch *a = &m->arch;
    const struct layer_arch *l = &a->layer[layer];
    int n = 0, i, mixer;

    s[n++] = (struct slot){SLOT_IN_NORM, "input_layernorm.weight", .out = a->hidden, .owner = OF_LAYER,
                           .at = LAYER_IN_NORM};
    s[n++] = (struct slot){SLOT_POST_NORM, "post_attention_layernorm.weight", .out = a->hidden,
                           .owner = OF_LAYER, .at = LAYER_POST_NORM};
    mixer = mixer_of(l)->slots(a, l, s + n);
    for (i = 0; i < mixer; i++)
        s[n++].owner = OF_MIXER;
    for (i = 0; i < n; i++)
        s[i].plus_one = a->family->norm_plus_one && !s[i].in && s[i].id != SLOT_SINKS;
    n += indexer_slots(a, l, s + n);
    return n + ffn_slots(m, l, s + n);
}

int model_slots(const struct model *m, struct slot *s)
{
    const struct arch *a = &m->arch;

    s[0] = (struct slot){SLOT_EMBEDDING, "", a->vocab, a->hidden, .owner = OF_MODEL};
    snprintf(s[0].name, sizeof s[0].name, "%sembed_tokens", a->trunk);
    s[1] = (struct slot){SLOT_FINAL_NORM, "", .out = a->hidden};
    snprintf(s[1].name, sizeof s[1].name, "%snorm.weight", a->trunk);
    s[1].plus_one = a->family->norm_plus_one;
    s[2] = (struct slot){SLOT_HEAD, "lm_head", a->vocab, a->hidden, a->bias_head, true, .optional = a->tied};
    return MODEL_SLOTS;
}

struct slot model_slot(const struct model *m, enum slot_id id)
{
    struct slot s[MODEL_SLOTS];
    int i = model_slots(m, s);

    while (--i > 0 && s[i].id != id)
        ;
    return s[i];
}

/* How much of a tensor's name within its layer is the slot's; 0: it is another's. */
static size_t matched(const struct slot *s, const struct tensor_role *r, const char *name)
{
    char own[SLOT_NAME + 16];
    size_t n;

    snprintf(own, sizeof own, s->name, r->expert);
    n = strlen(own);
    if (strncmp(name, own, n) != 0)
        return 0;
    return !name[n] || (s->in && (name[n] == '.' || (s->role == ROLE_EXPERTS && name[n] == '_'))) ? n : 0;
}

bool slot_of(const struct model *m, size_t i, struct slot *s)
{
    const struct tensor_role *r = &m->role[i];
    const char *name = m->ckpt.tensor[i]->name, *prefix = m->arch.prefix;
    struct slot all[LAYER_SLOTS];
    size_t best = 0, n;
    int k, slots;

    if (strncmp(name, prefix, strlen(prefix)) != 0 || r->role == ROLE_MTP || r->layer >= m->arch.layers)
        return false;
    name += strlen(prefix);
    slots = r->layer < 0 ? model_slots(m, all) : layer_slots(m, r->layer, all);
    if (r->layer >= 0)
        name += strlen(m->arch.trunk);
    for (k = 0; r->layer >= 0 && k < 2; k++) /* behind "layers.N." */
        name = strchr(name, '.') + 1;
    for (k = 0; k < slots; k++)
        if ((n = matched(&all[k], r, name)) > best) {
            best = n;
            *s = all[k];
        }
    return best > 0;
}

uint64_t slot_elements(const struct model *m, const struct slot *s)
{
    uint64_t copies = s->owner == OF_EXPERTS ? (uint64_t)m->arch.experts : 1;

    return copies * ((uint64_t)s->out * (uint64_t)(s->in ? s->in : 1) + (s->bias ? (uint64_t)s->out : 0));
}
