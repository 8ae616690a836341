/*
 * names.c -- from names to meaning and back: what a tensor's name says about it, and what the tensor of a
 * given layer, expert and matrix is called.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/words.h"
#include "model/parts.h"

enum { NAME_LEN = 512 };

/* ---- from meaning to names ---- */

/* What the format says, within the language model; NULL: absent. */
static const struct tensor *find_name(const struct model *m, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static const struct tensor *find_name(const struct model *m, const char *fmt, ...)
{
    char name[NAME_LEN];
    int n = snprintf(name, sizeof name, "%s", m->arch.prefix), k;
    va_list ap;

    va_start(ap, fmt);
    k = vsnprintf(name + n, sizeof name - (size_t)n, fmt, ap);
    va_end(ap);
    return k > 0 && n + k < NAME_LEN ? checkpoint_find(&m->ckpt, name) : NULL;
}

const struct tensor *model_tensor(const struct model *m, int layer, const char *suffix)
{
    return layer < 0 ? find_name(m, "%s", suffix)
                     : find_name(m, "%slayers.%d.%s", m->arch.trunk, layer, suffix);
}

const struct tensor *model_ffn_tensor(const struct model *m, int layer, const char *suffix)
{
    return find_name(m, "%slayers.%d.%s.%s", m->arch.trunk, layer, m->ffn_module, suffix);
}

const char *part_module(const struct family *f, enum part p)
{
    return p == PART_GATE ? f->expert_gate : p == PART_UP ? f->expert_up : f->expert_down;
}

/* The tensor of a piece, base being the map's whole name. */
static const struct tensor *piece_tensor(const struct model *m, const char *base, const struct piece *p,
                                         bool fused)
{
    const char *suffix = piece_suffix(p, fused);
    char name[NAME_LEN];
    int n = suffix ? snprintf(name, sizeof name, "%s%s", base, suffix) : 0;

    return n > 0 && n < NAME_LEN ? checkpoint_find(&m->ckpt, name) : NULL;
}

/* How a piece's tensor looks to its format. */
static struct piece_view view_of(const struct tensor *t, bool fused)
{
    int skip = t && fused && t->rank;

    return t ? (struct piece_view){t->shape + skip, t->rank - skip, t->dtype}
             : (struct piece_view){.rank = -1};
}

static enum format_fit fit_of(const struct model *m, const char *base, bool fused,
                              const struct format_claim *c, int out, int in)
{
    struct piece_view v[FORMAT_PIECES];
    const struct piece *p = c->format->piece;
    int i;

    v[0] = view_of(piece_tensor(m, base, p, fused), fused);
    if (v[0].rank < 0 || !(p->dtypes >> v[0].dtype & 1))
        return format_fits(c, v, (uint64_t)out, (uint64_t)in, false);
    for (i = 1; p[i].suffix || p[i].fused_suffix; i++)
        v[i] = view_of(piece_tensor(m, base, &p[i], fused), fused);
    return format_fits(c, v, (uint64_t)out, (uint64_t)in, fused && model_in_out(m, c->format));
}

/* What was found when it was checked. */
static const struct format_claim *known_fit(const struct model *m, const char *base, bool fused)
{
    const struct arch *a = &m->arch;
    ptrdiff_t at;
    int i;

    for (i = 0; i < a->claims; i++) {
        const struct tensor *t = piece_tensor(m, base, a->claim[i].format->piece, fused);

        at = t ? checkpoint_index(&m->ckpt, t->name) : -1;
        if (at >= 0 && m->role[at].sure)
            return m->role[at].as;
    }
    return NULL;
}

/* The format that fits best: of those that fit alike the first one, of those with a weight of another dtype
 * the last, plain numbers before others. NULL: there is no weight. */
static const struct format_claim *best_fit(const struct model *m, const char *base, bool fused, int out,
                                           int in)
{
    const struct arch *a = &m->arch;
    const struct format_claim *best = NULL;
    enum format_fit fit = FIT_NONE, f;
    int i;

    for (i = 0; i < a->claims && fit < FIT_WHOLE; i++) {
        f = fit_of(m, base, fused, &a->claim[i], out, in);
        if (f > fit || (f == FIT_NAME && f == fit)) {
            fit = f;
            best = &a->claim[i];
        }
    }
    return best;
}

/* For the message: the format of which there is something else, or plain numbers. */
static const struct format_claim *without_weight(const struct model *m, const char *base, bool fused)
{
    const struct arch *a = &m->arch;
    const struct piece *p;
    int i;

    for (i = 0; i < a->claims - 1; i++)
        FOR_PIECES(p, a->claim[i].format)
    if (p->use != USE_WEIGHT && piece_tensor(m, base, p, fused))
        return &a->claim[i];
    return &a->claim[a->claims - 1];
}

bool find_map(const struct model *m, const char *base, bool fused, int out, int in, struct linear_tensors *l)
{
    const struct piece *p;

    *l = (struct linear_tensors){.as = out ? NULL : known_fit(m, base, fused)};
    if (!l->as)
        l->as = best_fit(m, base, fused, out, in);
    if (!l->as) {
        l->as = without_weight(m, base, fused);
        return false;
    }
    FOR_PIECES(p, l->as->format)
    if (p->use < STORED_PIECES)
        l->piece[p->use] = piece_tensor(m, base, p, fused);
    return true;
}

bool model_linear(const struct model *m, int layer, const char *name, struct linear_tensors *l)
{
    char base[NAME_LEN];
    int n = layer < 0
                ? snprintf(base, sizeof base, "%s%s", m->arch.prefix, name)
                : snprintf(base, sizeof base, "%s%slayers.%d.%s", m->arch.prefix, m->arch.trunk, layer, name);

    *l = (struct linear_tensors){0};
    return n > 0 && n < NAME_LEN && find_map(m, base, false, 0, 0, l);
}

const char *fused_part(enum part part)
{
    static const char *const name[] = {[PART_GATE] = "gate_proj",
                                       [PART_UP] = "up_proj",
                                       [PART_DOWN] = "down_proj",
                                       [PART_GATE_UP] = "gate_up_proj"};

    return name[part];
}

bool model_expert_linear(const struct model *m, int layer, int expert, enum part part,
                         struct linear_tensors *l)
{
    bool split = m->layout == EXPERTS_SPLIT;
    char base[NAME_LEN];
    int n = snprintf(base, sizeof base, "%s%slayers.%d.%s.experts.", m->arch.prefix, m->arch.trunk, layer,
                     m->ffn_module);

    *l = (struct linear_tensors){0};
    if (part == PART_NONE || (part != PART_DOWN && (part == PART_GATE_UP) != layout_fused(m->layout)))
        return false;
    if (split)
        n += snprintf(base + n, sizeof base - (size_t)n, "%d.%s", expert, part_module(m->arch.family, part));
    else
        n += snprintf(base + n, sizeof base - (size_t)n, "%s", fused_part(part));
    return n < NAME_LEN && find_map(m, base, !split, 0, 0, l);
}

const struct tensor *model_expert_bias(const struct model *m, int layer, enum part part)
{
    return find_name(m, "%slayers.%d.%s.experts.%s_bias", m->arch.trunk, layer, m->ffn_module,
                     fused_part(part));
}

bool model_in_out(const struct model *m, const struct format *f)
{
    return (m->layout == EXPERTS_CONCAT || m->layout == EXPERTS_INTERLEAVED) && !f->interleaved;
}

/* ---- from names to meaning ---- */

static bool take_word(const char **s, const char *word)
{
    size_t n = word ? strlen(word) : 0;

    if (!word || strncmp(*s, word, n) != 0)
        return false;
    *s += n;
    return true;
}

/* What a tensor with this suffix is to its map; false: nothing that is known. */
static bool use_of(const char *suffix, bool fused, enum piece_use *use)
{
    const struct piece *p = format_find_suffix(suffix, fused);

    if (!p && strcmp(suffix, fused ? "_bias" : ".bias") != 0)
        return false;
    *use = p ? p->use : USE_BIAS;
    return true;
}

/* s follows "experts." */
static void expert_role(struct tensor_role *r, const struct family *f, const char *name, const char *s)
{
    const char *at = s;
    enum part p;

    if (take_number(&s, &r->expert)) {
        r->role = ROLE_EXPERT;
        r->digits = (size_t)(at - name);
        r->digits_n = (size_t)(s - at);
        if (*s++ != '.')
            return;
        for (p = PART_GATE; p <= PART_DOWN; p++)
            if (take_word(&s, part_module(f, p))) {
                r->part = use_of(s, false, &r->use) ? p : PART_NONE;
                return;
            }
        return;
    }
    r->role = ROLE_EXPERTS;
    for (p = PART_GATE_UP; p >= PART_GATE && !take_word(&s, fused_part(p)); p--)
        ;
    r->part = p;
    if (!use_of(s, true, &r->use))
        r->part = PART_NONE;
}

static bool take_ffn(const char **s, const char *module)
{
    const char *p = *s;

    if (!take_word(&p, module) || *p++ != '.')
        return false;
    *s = p;
    return true;
}

bool of_language_model(const struct arch *a, const char *name)
{
    bool inside = take_word(&name, a->prefix);

    return *a->prefix || strcmp(a->trunk, "model.") == 0
               ? inside
               : take_word(&name, a->trunk) || take_word(&name, "lm_head");
}

struct tensor_role role_of(const struct arch *a, const char *name)
{
    const struct family *f = a->family;
    struct tensor_role r = {.role = ROLE_OTHER, .layer = -1, .expert = -1};
    const char *s = name;

    if (f->key_mtp[0] && strncmp(name, "model.mtp_", 10) == 0)
        r.role = ROLE_MTP;
    if (!take_word(&s, a->prefix) || !take_word(&s, a->trunk) || !take_word(&s, "layers.") ||
        !take_number(&s, &r.layer) || *s++ != '.')
        return r;
    if (f->key_mtp[0] && r.layer >= a->layers) {
        r.role = ROLE_MTP;
        return r;
    }
    if (!take_ffn(&s, f->ffn_module) && !take_ffn(&s, f->fused_module))
        return r;
    r.ffn = true;
    if (take_word(&s, "experts.")) {
        expert_role(&r, f, name, s);
    } else if (router_tensor(a, s, &r.axis)) {
        r.role = ROLE_ROUTER;
    }
    return r;
}
