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

/* prefix + name; NULL: absent. */
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
    return layer < 0 ? find_name(m, "%s", suffix) : find_name(m, "model.layers.%d.%s", layer, suffix);
}

const struct tensor *model_ffn_tensor(const struct model *m, int layer, const char *suffix)
{
    return find_name(m, "model.layers.%d.%s.%s", layer, m->ffn_module, suffix);
}

const char *part_module(const struct family *f, enum part p)
{
    return p == PART_GATE ? f->expert_gate : p == PART_UP ? f->expert_up : f->expert_down;
}

bool split_layout(enum expert_layout l)
{
    return l == EXPERTS_SPLIT || l == EXPERTS_SPLIT_MXFP4;
}

/* Suffix of a piece in each layout; NULL: that layout has no such piece. */
static const char *piece_suffix(enum expert_layout l, enum piece p)
{
    switch (l) {
    case EXPERTS_SPLIT: /* the scale is that of block-scaled FP8 */
        return p == PIECE_WEIGHT ? ".weight" : p == PIECE_SCALE ? ".weight_scale_inv" : NULL;
    case EXPERTS_SPLIT_MXFP4:
        return p == PIECE_BLOCKS ? ".weight_packed" : p == PIECE_SCALE ? ".weight_scale" : NULL;
    case EXPERTS_FUSED:
    case EXPERTS_CONCAT_IO:
    case EXPERTS_INTERLEAVED_IO:
        return p == PIECE_WEIGHT ? "" : p == PIECE_BIAS ? "_bias" : NULL;
    case EXPERTS_MXFP4:
        return p == PIECE_BLOCKS  ? "_blocks"
               : p == PIECE_SCALE ? "_scales"
               : p == PIECE_BIAS  ? "_bias"
                                  : NULL;
    }
    return NULL;
}

const struct tensor *model_expert_tensor(const struct model *m, int layer, int expert, enum part part,
                                         enum piece piece)
{
    const char *suffix = piece_suffix(m->layout, piece);
    bool split = split_layout(m->layout);

    if (!suffix || part == PART_NONE || split != (part != PART_GATE_UP && (split || part != PART_DOWN)))
        return NULL;
    if (split)
        return find_name(m, "model.layers.%d.%s.experts.%d.%s%s", layer, m->ffn_module, expert,
                         part_module(m->arch.family, part), suffix);
    return find_name(m, "model.layers.%d.%s.experts.%s%s", layer, m->ffn_module,
                     part == PART_DOWN ? "down_proj" : "gate_up_proj", suffix);
}

/* ---- from names to meaning ---- */

static bool take(const char **s, const char *word)
{
    size_t n = word ? strlen(word) : 0;

    if (!word || strncmp(*s, word, n) != 0)
        return false;
    *s += n;
    return true;
}

static bool piece_of(const char *suffix, enum piece *piece)
{
    static const struct {
        const char *suffix;
        enum piece piece;
    } known[] = {
        {"", PIECE_WEIGHT},       {".weight", PIECE_WEIGHT},      {"_bias", PIECE_BIAS},
        {".bias", PIECE_BIAS},    {"_blocks", PIECE_BLOCKS},      {".weight_packed", PIECE_BLOCKS},
        {"_scales", PIECE_SCALE}, {".weight_scale", PIECE_SCALE}, {".weight_scale_inv", PIECE_SCALE}};
    size_t i;

    for (i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(suffix, known[i].suffix) == 0) {
            *piece = known[i].piece;
            return true;
        }
    return false;
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
            if (take(&s, part_module(f, p))) {
                r->part = piece_of(s, &r->piece) ? p : PART_NONE;
                return;
            }
        return;
    }
    r->role = ROLE_EXPERTS;
    if (take(&s, "gate_up_proj"))
        r->part = PART_GATE_UP;
    else if (take(&s, "down_proj"))
        r->part = PART_DOWN;
    if (!piece_of(s, &r->piece))
        r->part = PART_NONE;
}

static bool take_ffn(const char **s, const char *module)
{
    const char *p = *s;

    if (!take(&p, module) || *p++ != '.')
        return false;
    *s = p;
    return true;
}

struct tensor_role role_of(const struct arch *a, const char *name)
{
    const struct family *f = a->family;
    struct tensor_role r = {.role = ROLE_OTHER, .layer = -1, .expert = -1};
    const char *s = name;

    if (f->key_mtp[0] && strncmp(name, "model.mtp_", 10) == 0)
        r.role = ROLE_MTP;
    if (!take(&s, a->prefix) || !take(&s, "model.layers.") || !take_number(&s, &r.layer) || *s++ != '.')
        return r;
    if (f->key_mtp[0] && r.layer >= a->layers) {
        r.role = ROLE_MTP;
        return r;
    }
    if (!take_ffn(&s, f->ffn_module) && !take_ffn(&s, f->fused_module))
        return r;
    if (take(&s, "experts.")) {
        expert_role(&r, f, name, s);
    } else if (f->corr_name && strcmp(s, f->corr_name) == 0) {
        r.role = ROLE_ROUTER;
        r.axis = f->corr_row;
    } else if (take(&s, f->router) && (strcmp(s, ".weight") == 0 || strcmp(s, ".bias") == 0)) {
        r.role = ROLE_ROUTER;
    }
    return r;
}
