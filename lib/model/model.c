#include "model/model.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/locate.h"
#include "quant/bf16.h"

enum { NAME_MAX_LEN = 512, MAX_CONFIG = 16 << 20 };

/* ---- names ---- */

static const struct tensor *find_name(const struct model *m, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static const struct tensor *find_name(const struct model *m, const char *fmt, ...)
{
    char name[NAME_MAX_LEN];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return n > 0 && n < NAME_MAX_LEN ? checkpoint_find(&m->ckpt, name) : NULL;
}

const struct tensor *model_tensor(const struct model *m, int layer, const char *suffix)
{
    return layer < 0 ? checkpoint_find(&m->ckpt, suffix) : find_name(m, "model.layers.%d.%s", layer, suffix);
}

static const char *part_module(const struct family *f, enum part p)
{
    return p == PART_GATE ? f->expert_gate : p == PART_UP ? f->expert_up : f->expert_down;
}

/* Suffix of a piece in each layout; NULL: that layout has no such piece. */
static const char *piece_suffix(enum expert_layout l, enum piece p)
{
    switch (l) {
    case EXPERTS_SPLIT:
        return p == PIECE_WEIGHT ? ".weight" : NULL;
    case EXPERTS_SPLIT_MXFP4:
        return p == PIECE_BLOCKS ? ".weight_packed" : p == PIECE_SCALE ? ".weight_scale" : NULL;
    case EXPERTS_FUSED:
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

static bool split_layout(enum expert_layout l)
{
    return l == EXPERTS_SPLIT || l == EXPERTS_SPLIT_MXFP4;
}

const struct tensor *model_expert_tensor(const struct model *m, int layer, int expert, enum part part,
                                         enum piece piece)
{
    const struct family *f = m->arch.family;
    const char *suffix = piece_suffix(m->layout, piece);

    if (!suffix)
        return NULL;
    if (split_layout(m->layout)) {
        if (part != PART_GATE && part != PART_UP && part != PART_DOWN)
            return NULL;
        return find_name(m, "model.layers.%d.%s.experts.%d.%s%s", layer, f->ffn_module, expert,
                         part_module(f, part), suffix);
    }
    if (part != PART_GATE_UP && part != PART_DOWN)
        return NULL;
    return find_name(m, "model.layers.%d.%s.experts.%s%s", layer, f->ffn_module,
                     part == PART_DOWN ? "down_proj" : "gate_up_proj", suffix);
}

/* ---- roles: what each tensor's name says ---- */

/* A run of digits at *s as a number; false if there is none or it is absurd. */
static bool take_number(const char **s, int *out)
{
    const char *p = *s;
    int v = 0;

    while (isdigit((unsigned char)*p) && v < 100000000)
        v = v * 10 + (*p++ - '0');
    if (p == *s || isdigit((unsigned char)*p))
        return false;
    *s = p;
    *out = v;
    return true;
}

static bool take(const char **s, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*s, word, n) != 0)
        return false;
    *s += n;
    return true;
}

static bool piece_of(const char *suffix, enum piece *piece)
{
    static const struct {
        const char *suffix;
        enum piece piece;
    } known[] = {{"", PIECE_WEIGHT},       {".weight", PIECE_WEIGHT},     {"_bias", PIECE_BIAS},
                 {".bias", PIECE_BIAS},    {"_blocks", PIECE_BLOCKS},     {".weight_packed", PIECE_BLOCKS},
                 {"_scales", PIECE_SCALE}, {".weight_scale", PIECE_SCALE}};
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
            if (part_module(f, p) && take(&s, part_module(f, p))) {
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

static struct tensor_role role_of(const struct family *f, const char *name)
{
    struct tensor_role r = {.role = ROLE_OTHER, .layer = -1, .expert = -1};
    const char *s = name;

    if (!take(&s, "model.layers.") || !take_number(&s, &r.layer) || *s++ != '.')
        return r;
    if (!take(&s, f->ffn_module) || *s++ != '.')
        return r;
    if (take(&s, "experts."))
        expert_role(&r, f, name, s);
    else if (take(&s, f->router) && (strcmp(s, ".weight") == 0 || strcmp(s, ".bias") == 0))
        r.role = ROLE_ROUTER;
    return r;
}

/* ---- what must be there ---- */

enum want_kind { WANT_FLOAT, WANT_U8 };

struct checker {
    struct model *m;
    bool *seen; /* [ckpt.n] */
    struct err *e;
};

static void shape_text(char *buf, size_t n, const uint64_t *shape, int rank)
{
    size_t at = 0;
    int i;

    at += (size_t)snprintf(buf, n, "[");
    for (i = 0; i < rank && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    if (at < n)
        snprintf(buf + at, n - at, "]");
}

static size_t tensor_index(const struct model *m, const struct tensor *t)
{
    size_t lo = 0, hi = m->ckpt.n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (strcmp(m->ckpt.tensor[mid]->name, t->name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The tensor must exist with this shape and kind; marks it as seen. */
static int want(struct checker *c, const char *name, enum want_kind kind, int rank, const uint64_t *shape)
{
    const struct tensor *t = checkpoint_find(&c->m->ckpt, name);
    bool is_float, same;
    char have[120], need[120];
    size_t i;

    if (!t)
        return err_set(c->e, ERR_INPUT, "'%s': tensor '%s' is missing", c->m->dir, name);
    i = tensor_index(c->m, t);
    c->seen[i] = true;
    is_float = t->dtype == DT_F32 || t->dtype == DT_F16 || t->dtype == DT_BF16;
    if (kind == WANT_FLOAT ? !is_float : t->dtype != DT_U8)
        return err_set(c->e, ERR_INPUT, "'%s': tensor '%s' has dtype %s where %s is needed", c->m->dir, name,
                       dtype_name(t->dtype), kind == WANT_FLOAT ? "BF16, F16 or F32" : "U8");
    same = t->rank == rank && memcmp(t->shape, shape, (size_t)rank * sizeof *shape) == 0;
    if (same)
        return 0;
    shape_text(have, sizeof have, t->shape, t->rank);
    shape_text(need, sizeof need, shape, rank);
    if ((c->m->role[i].role == ROLE_EXPERTS || c->m->role[i].role == ROLE_ROUTER) && t->rank == rank &&
        t->shape[0] != shape[0] && memcmp(t->shape + 1, shape + 1, (size_t)(rank - 1) * sizeof *shape) == 0)
        return err_set(c->e, ERR_INPUT,
                       "'%s': tensor '%s' holds %llu experts, config.json says %llu (was it left uncut when "
                       "the model was "
                       "pruned?)",
                       c->m->dir, name, (unsigned long long)t->shape[0], (unsigned long long)shape[0]);
    return err_set(c->e, ERR_INPUT, "'%s': tensor '%s' has shape %s where config.json asks for %s", c->m->dir,
                   name, have, need);
}

#define WANT(c, kind, name, ...)                                                                             \
    want(c, name, kind, (int)(sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)),                         \
         (uint64_t[]){__VA_ARGS__})

/* A linear's weight [out, in]: as it is, or as compressed-tensors MXFP4. */
static int want_linear(struct checker *c, const char *base, int out, int in)
{
    char name[NAME_MAX_LEN];

    if (c->m->arch.ct_mxfp4_config) {
        snprintf(name, sizeof name, "%s.weight_packed", base);
        if (checkpoint_find(&c->m->ckpt, name)) {
            if (WANT(c, WANT_U8, name, (uint64_t)out, (uint64_t)in / 2))
                return -1;
            snprintf(name, sizeof name, "%s.weight_scale", base);
            return WANT(c, WANT_U8, name, (uint64_t)out, (uint64_t)in / 32);
        }
    }
    snprintf(name, sizeof name, "%s.weight", base);
    return WANT(c, WANT_FLOAT, name, (uint64_t)out, (uint64_t)in);
}

static int want_vector(struct checker *c, const char *base, const char *suffix, int n)
{
    char name[NAME_MAX_LEN];

    snprintf(name, sizeof name, "%s%s", base, suffix);
    return WANT(c, WANT_FLOAT, name, (uint64_t)n);
}

static int check_attention(struct checker *c, int layer)
{
    const struct arch *a = &c->m->arch;
    const struct {
        const char *name;
        int out, in;
        bool bias;
    } lin[] = {{"q_proj", a->heads * a->head_dim, a->hidden, a->bias_qkv},
               {"k_proj", a->kv_heads * a->head_dim, a->hidden, a->bias_qkv},
               {"v_proj", a->kv_heads * a->head_dim, a->hidden, a->bias_qkv},
               {"o_proj", a->hidden, a->heads * a->head_dim, a->bias_o}};
    char base[128];
    int i;

    for (i = 0; i < 4; i++) {
        snprintf(base, sizeof base, "model.layers.%d.self_attn.%s", layer, lin[i].name);
        if (want_linear(c, base, lin[i].out, lin[i].in) ||
            (lin[i].bias && want_vector(c, base, ".bias", lin[i].out)))
            return -1;
    }
    snprintf(base, sizeof base, "model.layers.%d.self_attn", layer);
    if (a->family->qk_norm == QKN_HEAD_PRE && (want_vector(c, base, ".q_norm.weight", a->head_dim) ||
                                               want_vector(c, base, ".k_norm.weight", a->head_dim)))
        return -1;
    return a->family->sinks ? want_vector(c, base, ".sinks", a->heads) : 0;
}

/* Layout A and its MXFP4 form: three matrices for each expert. */
static int check_split(struct checker *c, const char *ffn)
{
    const struct arch *a = &c->m->arch;
    char base[256];
    enum part p;
    int j;

    for (j = 0; j < a->experts; j++)
        for (p = PART_GATE; p <= PART_DOWN; p++) {
            snprintf(base, sizeof base, "%s.experts.%d.%s", ffn, j, part_module(a->family, p));
            if (want_linear(c, base, p == PART_DOWN ? a->hidden : a->inter,
                            p == PART_DOWN ? a->inter : a->hidden))
                return -1;
        }
    return 0;
}

static int check_fused(struct checker *c, const char *ffn)
{
    const struct arch *a = &c->m->arch;
    uint64_t e = (uint64_t)a->experts, h = (uint64_t)a->hidden, n = (uint64_t)a->inter;
    char gu[256], down[256], name[300];

    snprintf(gu, sizeof gu, "%s.experts.gate_up_proj", ffn);
    snprintf(down, sizeof down, "%s.experts.down_proj", ffn);
    if (a->family->expert_bias) {
        snprintf(name, sizeof name, "%s_bias", gu);
        if (WANT(c, WANT_FLOAT, name, e, 2 * n))
            return -1;
        snprintf(name, sizeof name, "%s_bias", down);
        if (WANT(c, WANT_FLOAT, name, e, h))
            return -1;
    }
    if (c->m->layout == EXPERTS_FUSED)
        return WANT(c, WANT_FLOAT, gu, e, 2 * n, h) || WANT(c, WANT_FLOAT, down, e, h, n) ? -1 : 0;
    if (c->m->layout == EXPERTS_INTERLEAVED_IO)
        return WANT(c, WANT_FLOAT, gu, e, h, 2 * n) || WANT(c, WANT_FLOAT, down, e, n, h) ? -1 : 0;
    if (h % 32 || n % 32)
        return err_set(c->e, ERR_INPUT,
                       "'%s': MXFP4 needs hidden and intermediate sizes that are multiples of 32", c->m->dir);
    snprintf(name, sizeof name, "%s_blocks", gu);
    if (WANT(c, WANT_U8, name, e, 2 * n, h / 32, 16))
        return -1;
    snprintf(name, sizeof name, "%s_scales", gu);
    if (WANT(c, WANT_U8, name, e, 2 * n, h / 32))
        return -1;
    snprintf(name, sizeof name, "%s_blocks", down);
    if (WANT(c, WANT_U8, name, e, h, n / 32, 16))
        return -1;
    snprintf(name, sizeof name, "%s_scales", down);
    return WANT(c, WANT_U8, name, e, h, n / 32);
}

static int check_ffn(struct checker *c, int layer)
{
    const struct arch *a = &c->m->arch;
    const struct family *f = a->family;
    char ffn[128], base[256];

    snprintf(ffn, sizeof ffn, "model.layers.%d.%s", layer, f->ffn_module);
    if (a->layer[layer].ffn == FFN_DENSE) {
        static const char *const mods[] = {"gate_proj", "up_proj", "down_proj"};
        int i;

        for (i = 0; i < 3; i++) {
            snprintf(base, sizeof base, "%s.%s", ffn, mods[i]);
            if (want_linear(c, base, i == 2 ? a->hidden : a->dense_inter,
                            i == 2 ? a->dense_inter : a->hidden))
                return -1;
        }
        return 0;
    }
    snprintf(base, sizeof base, "%s.%s.weight", ffn, f->router);
    if (WANT(c, WANT_FLOAT, base, (uint64_t)a->experts, (uint64_t)a->hidden))
        return -1;
    snprintf(base, sizeof base, "%s.%s", ffn, f->router);
    if (f->router_bias && want_vector(c, base, ".bias", a->experts))
        return -1;
    return split_layout(c->m->layout) ? check_split(c, ffn) : check_fused(c, ffn);
}

/* What is left over is not understood; say which, and why where that is known. */
static int check_leftovers(struct checker *c)
{
    const struct model *m = c->m;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++) {
        const char *name = m->ckpt.tensor[i]->name;

        if (c->seen[i])
            continue;
        if (m->role[i].layer >= m->arch.layers)
            return err_set(c->e, ERR_UNKNOWN,
                           "'%s': tensor '%s' belongs to layer %d, config.json has layers 0 to %d", m->dir,
                           name, m->role[i].layer, m->arch.layers - 1);
        if (m->role[i].role == ROLE_EXPERT && m->role[i].expert >= m->arch.experts)
            return err_set(c->e, ERR_INPUT,
                           "'%s': tensor '%s' belongs to expert %d, config.json has experts 0 to %d", m->dir,
                           name, m->role[i].expert, m->arch.experts - 1);
        return err_set(c->e, ERR_UNKNOWN, "'%s': tensor '%s' is not understood (family %s)", m->dir, name,
                       m->arch.family->name);
    }
    return 0;
}

static int check_tensors(struct model *m, struct err *e)
{
    const struct arch *a = &m->arch;
    struct checker c = {m, mem_new(m->ckpt.n, sizeof(bool), e), e};
    char base[128];
    int i, r = -1;

    if (!c.seen)
        return -1;
    if (WANT(&c, WANT_FLOAT, "model.embed_tokens.weight", (uint64_t)a->vocab, (uint64_t)a->hidden) ||
        want_vector(&c, "model.norm", ".weight", a->hidden))
        goto done;
    if (!a->tied || checkpoint_find(&m->ckpt, "lm_head.weight"))
        if (want_linear(&c, "lm_head", a->vocab, a->hidden))
            goto done;
    for (i = 0; i < a->layers; i++) {
        snprintf(base, sizeof base, "model.layers.%d", i);
        if (want_vector(&c, base, ".input_layernorm.weight", a->hidden) ||
            want_vector(&c, base, ".post_attention_layernorm.weight", a->hidden) || check_attention(&c, i) ||
            check_ffn(&c, i))
            goto done;
    }
    r = check_leftovers(&c);
done:
    free(c.seen);
    return r;
}

/* ---- opening ---- */

/* From the first MoE layer's tensors; checked against the rest by check_tensors. */
static int detect_layout(struct model *m, struct err *e)
{
    const struct family *f = m->arch.family;
    int i;

    for (i = 0; i < m->arch.layers && m->arch.layer[i].ffn != FFN_MOE; i++)
        ;
    if (find_name(m, "model.layers.%d.%s.experts.gate_up_proj_blocks", i, f->ffn_module))
        m->layout = EXPERTS_MXFP4;
    else if (find_name(m, "model.layers.%d.%s.experts.gate_up_proj", i, f->ffn_module))
        m->layout = f->fused_layout;
    else if (f->expert_gate &&
             find_name(m, "model.layers.%d.%s.experts.0.%s.weight_packed", i, f->ffn_module, f->expert_gate))
        m->layout = EXPERTS_SPLIT_MXFP4;
    else if (f->expert_gate)
        m->layout = EXPERTS_SPLIT;
    else
        return err_set(e, ERR_INPUT,
                       "'%s': tensor 'model.layers.%d.%s.experts.gate_up_proj' is missing (also as _blocks)",
                       m->dir, i, f->ffn_module);
    if (m->layout == EXPERTS_MXFP4 && (!m->arch.mxfp4_config || f->fused_layout != EXPERTS_INTERLEAVED_IO))
        return err_set(e, ERR_INPUT,
                       "'%s' has MXFP4 experts, but config.json does not say quant_method mxfp4", m->dir);
    if (m->layout == EXPERTS_SPLIT_MXFP4 && !m->arch.ct_mxfp4_config)
        return err_set(e, ERR_INPUT,
                       "'%s' has packed MXFP4 experts, but config.json does not say mxfp4-pack-quantized",
                       m->dir);
    return 0;
}

static int open_all(struct model *m, const char *arg, const struct model_options *o, struct err *e)
{
    char *path;
    cJSON *config = NULL;
    size_t i;
    int r;

    if (model_locate(arg, "config.json", &m->dir, &m->revision, e))
        return -1;
    path = path_join(m->dir, "config.json", e);
    if (!path)
        return -1;
    r = file_read(path, MAX_CONFIG, &m->config_text, &m->config_n, e) ||
                json_parse(m->config_text, m->config_n, path, &config, e) ||
                arch_read(&m->arch, config, path, o ? &o->arch : NULL, e)
            ? -1
            : 0;
    cJSON_Delete(config);
    free(path);
    if (r || checkpoint_open(&m->ckpt, m->dir, e))
        return -1;
    m->role = mem_new(m->ckpt.n, sizeof *m->role, e);
    if (!m->role)
        return -1;
    for (i = 0; i < m->ckpt.n; i++)
        m->role[i] = role_of(m->arch.family, m->ckpt.tensor[i]->name);
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

uint64_t model_router_row_bytes(const struct model *m, int layer)
{
    uint64_t bytes = 0;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++)
        if (m->role[i].layer == layer && m->role[i].role == ROLE_ROUTER)
            bytes += m->ckpt.tensor[i]->size / (uint64_t)m->arch.experts;
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
        snprintf(text, sizeof text, "%s.%s.weight", a->family->ffn_module, a->family->router);
        if (model_read_f32(m, model_tensor(m, i, text), w, e))
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
