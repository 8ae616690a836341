/*
 * gguf_config.c -- config.json of the metadata: numbers under the keys that the family's row reads, and where
 * a key is absent, what llama.cpp takes then.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/words.h"
#include "model/container/gguf_rows.h"

enum { KEY = 160, SHOWN = 100 };

/* ---- values ---- */

const struct gguf_value *gguf_key(struct gguf_making *m, const char *key)
{
    const struct gguf_value *v;
    char whole[KEY];

    snprintf(whole, sizeof whole, "%s.%s", m->arch, key);
    v = gguf_find(m->g, whole);
    if (v)
        m->used[v - m->g->value] = true;
    return v;
}

static void bad_key(struct gguf_making *m, const char *key, const char *why)
{
    err_set(m->e, ERR_INPUT, "'%s': the metadata key '%s.%s' %s", m->g->file.path, m->arch, key, why);
}

/* The key's first number, if all are the same. */
static bool one_number(struct gguf_making *m, const char *key, const struct gguf_value *v, double *x)
{
    double other;
    uint64_t i;

    if (!gguf_number(v, 0, x)) {
        bad_key(m, key, "is no number");
        return false;
    }
    for (i = 1; i < v->n; i++)
        if (!gguf_number(v, i, &other) || other != *x) {
            bad_key(m, key, "is not the same for all layers, which is not understood");
            return false;
        }
    return true;
}

int64_t gguf_whole(struct gguf_making *m, const char *key, int64_t absent)
{
    const struct gguf_value *v = gguf_key(m, key);
    int64_t n = absent;
    double x;

    if (!v && absent < 0)
        bad_key(m, key, "is missing");
    if (v && one_number(m, key, v, &x) && (!gguf_int(v, 0, &n) || n < 0 || n > INT_MAX))
        bad_key(m, key, "is no whole number that makes sense");
    return m->e->kind ? absent : n;
}

/* Numbers of 32 bits are meant as the shortest decimals that give them. */
static double as_written(const struct gguf_value *v, double x)
{
    char text[40];
    int digits = 1;

    if (v->type != GGUF_F32 || !isfinite(x))
        return x;
    do
        snprintf(text, sizeof text, "%.*g", digits, x);
    while (strtof(text, NULL) != (float)x && digits++ < 9);
    return strtod(text, NULL);
}

double gguf_real(struct gguf_making *m, const char *key, double absent)
{
    const struct gguf_value *v = gguf_key(m, key);
    double x = absent;

    if (!v && isnan(absent))
        bad_key(m, key, "is missing");
    return v && one_number(m, key, v, &x) ? as_written(v, x) : absent;
}

const struct gguf_info *gguf_entry(const struct gguf_set *s, const char *name, int *part)
{
    size_t i;
    int k;

    for (k = 0; k < s->parts; k++)
        for (i = 0; i < s->part[k].n_infos; i++)
            if (gguf_is(&s->part[k].info[i].name, name)) {
                if (part)
                    *part = k;
                return &s->part[k].info[i];
            }
    return NULL;
}

/* ---- which one it is ---- */

static const struct family *find_row_family(const char *name)
{
    int n, i;
    const struct family *const *f = family_table(&n);

    for (i = 0; i < n && strcmp(f[i]->name, name) != 0; i++)
        ;
    return i < n ? f[i] : NULL;
}

/* Of the rows of this name, the one whose gating it is. */
static void find_arch(struct gguf_making *m)
{
    const struct gguf_value *v = gguf_key(m, "expert_gating_func");
    struct gguf_text pre = {"", 0};
    const struct gguf_arch *rows;
    int64_t gating = 0;
    bool known = false;
    int n, i;

    gguf_int(v, 0, &gating);
    gguf_string(gguf_find(m->g, "tokenizer.ggml.pre"), &pre);
    rows = gguf_archs(&n);
    for (i = 0; i < n && !m->row; i++) {
        if (!in_words(rows[i].name, m->arch) || (rows[i].pre && !gguf_is(&pre, rows[i].pre)))
            continue;
        known = true;
        if (rows[i].gating_ignored || (gating ? gating == (int64_t)rows[i].gating : rows[i].gating_implied))
            m->row = &rows[i];
    }
    if (m->row)
        m->f = find_row_family(m->row->family);
    else if (!known)
        err_set(m->e, ERR_UNKNOWN,
                "'%s': the architecture '%s' is not known; moe-inspect --families lists those that are",
                m->g->file.path, m->arch);
    else
        bad_key(m, "expert_gating_func", v ? "has a value that is not understood" : "is missing");
}

/* ---- parts of config.json ---- */

static void write_sizes(struct gguf_making *m)
{
    const struct gguf_info *embedding = gguf_entry(m->set, "token_embd.weight", NULL);
    int64_t hidden = gguf_whole(m, "embedding_length", -1), mtp = gguf_whole(m, "nextn_predict_layers", 0);

    m->layers = gguf_whole(m, "block_count", -1) - mtp;
    m->heads = gguf_whole(m, "attention.head_count", -1);
    if (!embedding || embedding->dims < 2)
        err_set(m->e, ERR_INPUT, "'%s': tensor 'token_embd.weight' is missing", m->g->file.path);
    if (m->e->kind)
        return;
    gguf_key(m, "vocab_size"); /* what the embedding has rows for is what counts */
    jo_int(&m->j, "vocab_size", embedding->ne[1] < INT_MAX ? (int64_t)embedding->ne[1] : INT_MAX);
    jo_int(&m->j, "hidden_size", hidden);
    jo_int(&m->j, "num_hidden_layers", m->layers);
    jo_int(&m->j, "num_attention_heads", m->heads);
    jo_int(&m->j, "max_position_embeddings", gguf_whole(m, "context_length", -1));
    jo_double(&m->j, "rms_norm_eps", gguf_real(m, "attention.layer_norm_rms_epsilon", NAN));
    jo_bool(&m->j, "tie_word_embeddings", !gguf_has(m, "output.weight"));
    if (m->f->key_mtp[0])
        jo_int(&m->j, m->f->key_mtp[0], mtp);
    if (m->f->mixer == MIXER_GQA && m->heads) {
        m->head_dim = gguf_whole(m, "attention.key_length", hidden / m->heads);
        if (gguf_whole(m, "attention.value_length", hidden / m->heads) != m->head_dim)
            bad_key(m, "attention.value_length", "is another than that of keys, which is not understood");
        jo_int(&m->j, "head_dim", m->head_dim);
        jo_int(&m->j, "num_key_value_heads", gguf_whole(m, "attention.head_count_kv", m->heads));
    }
}

static int64_t expert_width(struct gguf_making *m, int64_t dense)
{
    int64_t absent = m->row->width == WIDTH_DENSE                  ? dense
                     : m->row->width == WIDTH_SHARE && m->topk > 0 ? dense / m->topk
                                                                   : -1;

    return gguf_whole(m, "expert_feed_forward_length", absent);
}

int64_t gguf_rows(const struct gguf_set *s, const char *tail)
{
    size_t n = strlen(tail), i;
    int k;

    for (k = 0; k < s->parts; k++)
        for (i = 0; i < s->part[k].n_infos; i++) {
            const struct gguf_info *t = &s->part[k].info[i];

            if (t->name.n > n && t->name.p[t->name.n - n - 1] == '.' &&
                memcmp(t->name.p + t->name.n - n, tail, n) == 0 && t->ne[1] < INT_MAX)
                return (int64_t)t->ne[1];
        }
    return 0;
}

/* How wide the shared expert is, its tensor tells: converters differ in what they write under the keys. */
static void write_shared(struct gguf_making *m)
{
    const struct family *f = m->f;
    int64_t width = gguf_rows(m->set, "ffn_up_shexp.weight");

    gguf_key(m, "expert_shared_count");
    gguf_key(m, "expert_shared_feed_forward_length");
    if (f->key_shared_count && m->inter > 0) {
        if (width % m->inter)
            err_set(m->e, ERR_INPUT, "'%s': a shared expert of width %lld is no multiple of %lld",
                    m->g->file.path, (long long)width, (long long)m->inter);
        jo_int(&m->j, f->key_shared_count, width / m->inter);
    } else if (f->key_shared_width && strcmp(f->key_shared_width, f->key_inter) != 0) {
        jo_int(&m->j, f->key_shared_width, width);
    }
}

static void write_experts(struct gguf_making *m)
{
    const struct family *f = m->f;
    int64_t dense = gguf_whole(m, "feed_forward_length", 0), norm;
    double scale = gguf_real(m, "expert_weights_scale", 0);

    m->experts = gguf_whole(m, "expert_count", 0);
    m->topk = gguf_whole(m, "expert_used_count", 0);
    if (!m->experts || !m->topk)
        bad_key(m, m->experts ? "expert_used_count" : "expert_count", "says that there are no experts");
    m->inter = expert_width(m, dense);
    jo_int(&m->j, f->key_experts[0], m->experts);
    jo_int(&m->j, f->key_topk[0], m->topk);
    jo_int(&m->j, f->key_inter, m->inter);
    if (f->key_dense_inter)
        jo_int(&m->j, f->key_dense_inter, dense);
    write_shared(m);
    norm = gguf_whole(m, "expert_weights_norm", 0);
    if (m->row->renorm != RENORM_UNSAID)
        jo_bool(&m->j, "norm_topk_prob",
                m->row->renorm == RENORM_YES || (m->row->renorm == RENORM_BY_KEY && norm));
    if (f->gate_scaled || (scale != 0 && scale != 1)) /* 0 is none */
        jo_double(&m->j, "routed_scaling_factor", scale == 0 ? 1 : scale);
    jo_int(&m->j, "n_group", gguf_whole(m, "expert_group_count", 1));
    jo_int(&m->j, "topk_group", gguf_whole(m, "expert_group_used_count", 1));
    if (f->key_attention_bias)
        jo_bool(&m->j, f->key_attention_bias,
                gguf_has(m, "blk.0.attn_q.bias") || gguf_has(m, "blk.0.attn_qkv.bias") ||
                    gguf_has(m, "blk.0.attn_q_a.bias"));
}

/* A part of each head, as the factor that gives just this number of dimensions. */
static void write_rotated(struct gguf_making *m)
{
    int64_t rotated = gguf_whole(m, "rope.dimension_count", m->head_dim);
    double part;

    if (!m->row->half_rotated && rotated != m->head_dim)
        bad_key(m, "rope.dimension_count", "is not that of a head");
    if (m->f->default_partial_rotary <= 0 || m->head_dim <= 0)
        return;
    part = (double)rotated / (double)m->head_dim;
    while ((int64_t)((double)m->head_dim * part) < rotated)
        part = nextafter(part, 2);
    jo_double(&m->j, "partial_rotary_factor", part);
}

static void write_yarn(struct gguf_making *m, double factor)
{
    double log_mul = m->f->mixer == MIXER_MLA ? gguf_real(m, "rope.scaling.yarn_log_multiplier", 0) / 0.1 : 0;
    double given = gguf_real(m, "rope.scaling.yarn_attn_factor", 0);
    double times = gguf_real(m, "rope.scaling.attn_factor", 1);

    jo_double(&m->j, "beta_fast", gguf_real(m, "rope.scaling.yarn_beta_fast", 32));
    jo_double(&m->j, "beta_slow", gguf_real(m, "rope.scaling.yarn_beta_slow", 1));
    jo_double(&m->j, "extrapolation_factor", gguf_real(m, "rope.scaling.yarn_ext_factor", 1));
    if (log_mul != 0) { /* llama.cpp has one number for both */
        jo_double(&m->j, "mscale", log_mul);
        jo_double(&m->j, "mscale_all_dim", log_mul);
    }
    if (given != 0 || times != 1)
        jo_double(&m->j, "attention_factor",
                  times * (given != 0    ? given
                           : factor <= 1 ? 1
                                         : 0.1 * log(factor) + 1));
}

static void write_rope(struct gguf_making *m)
{
    const struct gguf_value *type = gguf_key(m, "rope.scaling.type");
    double factor = gguf_real(m, "rope.scaling.factor", gguf_real(m, "rope.scale_linear", 0));
    struct gguf_text name = {"linear", 6};
    bool ollama = strcmp(m->arch, "gptoss") == 0; /* it does not say which, and there is one kind only */
    bool scaled = factor != 0 && factor != 1;
    char text[24];
    size_t i;

    if (ollama)
        name = (struct gguf_text){"yarn", 4};
    gguf_string(type, &name);
    gguf_key(m, "rope.scaling.finetuned");
    jo_double(&m->j, "rope_theta", gguf_real(m, "rope.freq_base", 10000));
    if (m->f->mixer == MIXER_GQA)
        write_rotated(m);
    if (m->row->permuted)
        jo_bool(&m->j, "rope_interleave", true);
    jo_open(&m->j, "rope_scaling", '{');
    if (m->n_factors) {
        jo_string(&m->j, "rope_type", "factors");
        jo_open(&m->j, "factors", '[');
        for (i = 0; i < m->n_factors; i++)
            jo_double(&m->j, NULL, (double)m->factors[i]);
        jo_close(&m->j);
        jo_double(&m->j, "factor", scaled ? factor : 1);
    } else if (gguf_is(&name, "none") || !scaled) {
        jo_string(&m->j, "rope_type", "default");
    } else {
        snprintf(text, sizeof text, "%.*s", name.n < 20 ? (int)name.n : 20, name.p);
        jo_string(&m->j, "rope_type", text);
        jo_double(&m->j, "factor", factor);
        jo_double(&m->j, "original_max_position_embeddings",
                  gguf_real(m, "rope.scaling.original_context_length", gguf_real(m, "context_length", 0)));
        if (gguf_is(&name, "yarn"))
            write_yarn(m, factor);
    }
    jo_close(&m->j);
}

/* What nobody has used is what nobody has understood. */
static void write_rest(struct gguf_making *m)
{
    size_t n = strlen(m->arch), i;

    for (i = 0; i < m->g->n_values; i++) {
        const struct gguf_value *v = &m->g->value[i];
        char key[KEY];
        double x;

        if (m->used[i] || v->key.n <= n || v->key.p[n] != '.' || memcmp(v->key.p, m->arch, n) != 0)
            continue;
        snprintf(key, sizeof key, "%.*s", v->key.n < SHOWN ? (int)v->key.n : SHOWN, v->key.p);
        if (!v->array && gguf_number(v, 0, &x))
            jo_double(&m->j, key, x);
        else
            jo_string(&m->j, key, v->array ? "(array)" : "(text)");
    }
}

/* Blocks of ggml are a format that is announced (format_ggml.c). */
static void write_format(struct gguf_making *m)
{
    static const uint32_t plain[] = {0, 1, 30}; /* F32, F16, BF16 */
    bool coded = false;
    size_t i;
    int k;

    for (k = 0; k < m->set->parts; k++)
        for (i = 0; i < m->set->part[k].n_infos; i++) {
            uint32_t type = m->set->part[k].info[i].type;

            coded = coded || (type != plain[0] && type != plain[1] && type != plain[2]);
        }
    if (!coded)
        return;
    jo_open(&m->j, "quantization_config", '{');
    jo_string(&m->j, "quant_method", "gguf");
    jo_close(&m->j);
}

static void config_members(struct gguf_making *m)
{
    /* said where they are no choice, too; of no influence on a text */
    static const char *const harmless[] = {"rope.dimension_count", "attention.key_length",
                                           "rope.dimension_sections", "tensor_data_layout"};
    size_t i;

    find_arch(m);
    if (m->e->kind)
        return;
    jo_open(&m->j, NULL, '{');
    jo_open(&m->j, "architectures", '[');
    jo_string(&m->j, NULL, m->f->architectures[0]);
    jo_close(&m->j);
    jo_string(&m->j, "model_type", m->f->model_type[0]);
    write_sizes(m);
    write_experts(m);
    write_rope(m);
    if (m->row->more)
        m->row->more(m);
    if (gguf_whole(m, "attention.causal", 1) != 1)
        bad_key(m, "attention.causal", "is false, which is not understood");
    for (i = 0; i < sizeof harmless / sizeof *harmless; i++)
        gguf_key(m, harmless[i]);
    write_rest(m);
    write_format(m);
    jo_close(&m->j);
    str_addc(&m->j.s, '\n');
}

int gguf_config(const struct gguf_set *s, const float *factors, size_t n, char **text, size_t *text_n,
                struct err *e)
{
    const struct gguf *g = &s->part[0];
    struct err local = {0};
    struct gguf_text name = {"", 0};
    struct gguf_making m = {.set = s,
                            .g = g,
                            .used = mem_new(g->n_values, sizeof *m.used, e),
                            .factors = factors,
                            .n_factors = n,
                            .j = {.pretty = true},
                            .e = &local};
    char *arch = NULL;

    *text = NULL;
    if (!m.used)
        return -1;
    if (!gguf_string(gguf_find(g, "general.architecture"), &name) || name.n > SHOWN / 2)
        err_set(&local, ERR_INPUT, "'%s' has no general.architecture", g->file.path);
    m.arch = arch = mem_strndup(name.p, name.n, &local);
    if (!local.kind)
        config_members(&m);
    if (!local.kind && str_ok(&m.j.s, &local) == 0) {
        *text = m.j.s.p;
        *text_n = m.j.s.n;
    } else {
        str_free(&m.j.s);
    }
    free(m.used);
    free(arch);
    return local.kind ? err_set(e, local.kind, "%s", local.msg) : 0;
}
