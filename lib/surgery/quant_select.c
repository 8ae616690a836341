/* quant_select.c -- what moe-quant converts, and what it calls the result. */
#include "surgery/quant_select.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/words.h"
#include "model/slots.h"
#include "stats/matrices.h"

static bool matches(const char *name, const char *const *globs)
{
    for (; globs && *globs; globs++)
        if (fnmatch(*globs, name, 0) == 0)
            return true;
    return false;
}

/* Whether a tensor is a piece of a map that is no plain numbers. */
static bool is_coded(const struct model *m, size_t i)
{
    return m->role[i].as && role_format(&m->role[i]) != &format_plain;
}

static bool is_coded_weight(const struct model *m, size_t i)
{
    return is_coded(m, i) && m->role[i].use == USE_WEIGHT;
}

static bool is_expert_weight(const struct model *m, size_t i)
{
    enum role r = m->role[i].role;

    return (r == ROLE_EXPERT || r == ROLE_EXPERTS) && m->role[i].use == USE_WEIGHT &&
           (dtype_is_float(m->ckpt.tensor[i]->dtype) || is_coded(m, i));
}

/* ---- to a coded format ---- */

static bool fits_layout(const struct format *f, const struct model *m)
{
    if (m->layout == EXPERTS_SPLIT)
        return f->piece->suffix;
    return f->piece->fused_suffix && (!f->interleaved || m->layout == EXPERTS_INTERLEAVED);
}

/* Sets to and encode to those of this name that a model of this layout can have, or NULL; false: there is no
 * such name. */
static bool find_target(struct quantization *q, const char *target)
{
    const struct encoder *x;
    bool known = false;
    int n, i;
    const struct format *const *f = format_table(&n);

    for (i = 0; i < n; i++)
        for (x = f[i]->encode; x && x->target && !q->to; x++) {
            if (strcmp(x->target, target) != 0)
                continue;
            known = true;
            q->encode = x;
            if (fits_layout(f[i], q->m))
                q->to = f[i];
        }
    return known;
}

/* The plain numbers of a tensor are [in][out]. */
static bool input_major(const struct model *m, size_t i)
{
    return m->role[i].role == ROLE_EXPERTS && model_in_out(m, &format_plain);
}

/* Out and in of the maps of a weight, and how many of them there are. A packed one does not say itself where
 * its rows end: that is known of those that the architecture asks for. */
static bool map_size(const struct model *m, size_t i, uint64_t *n, uint64_t *out, uint64_t *in)
{
    static const struct format_claim plain = {.format = &format_plain};
    const struct tensor *t = m->ckpt.tensor[i];
    const struct tensor_role *r = &m->role[i];
    const struct format_claim *as = is_coded(m, i) ? r->as : &plain;
    const struct dim *d = as->format->piece->dim;
    struct slot s = {.id = SLOT_NONE};
    struct piece_view v = {.dtype = t->dtype};
    int k, rank = 0;

    while (rank < PIECE_DIMS && d[rank].of != DIM_END)
        rank++;
    *n = 1;
    for (k = 0; k < t->rank - rank; k++)
        *n *= t->shape[k];
    if (is_coded(m, i) && slot_of(m, i, &s) && s.in && !s.turned) {
        *out = (uint64_t)s.out;
        *in = (uint64_t)s.in;
        return true;
    }
    v.shape = t->shape + (t->rank > rank ? t->rank - rank : 0);
    v.rank = t->rank < rank ? t->rank : rank;
    return format_extents(as, &v, r->role == ROLE_EXPERTS && model_in_out(m, as->format), out, in);
}

static int check_size(const struct quantization *q, size_t i, struct err *e)
{
    const char *name = q->m->ckpt.tensor[i]->name;
    int in_of = q->encode->in > q->to->multiple ? q->encode->in : q->to->multiple;
    uint64_t n, out = 0, in = 0;

    if (!map_size(q->m, i, &n, &out, &in))
        return err_set(e, ERR_INPUT, "tensor '%s' has no shape that its format can have", name);
    if (in % (uint64_t)in_of)
        return err_set(e, ERR_INPUT,
                       "tensor '%s' has rows of %llu elements, %s needs a multiple of %d: leave it out with "
                       "--exclude",
                       name, (unsigned long long)in, q->encode->target, in_of);
    if (q->encode->out && out % (uint64_t)q->encode->out)
        return err_set(
            e, ERR_INPUT,
            "tensor '%s' has %llu rows, and runtimes read %s right in multiples of %d only: leave it "
            "out with --exclude, or take fp8-channel",
            name, (unsigned long long)out, q->encode->target, q->encode->out);
    return 0;
}

static int check_chosen(const struct quantization *q, size_t i, struct err *e)
{
    const struct model *m = q->m;
    const struct tensor *t = m->ckpt.tensor[i];
    const char *why = NULL;
    struct slot s = {.id = SLOT_NONE, .linear = true}; /* of an MTP layer */

    slot_of(m, i, &s);
    if (m->role[i].role == ROLE_ROUTER)
        why = "is a router, which stays as it is";
    else if (s.id == SLOT_SHARED_SWITCH)
        why = "is the gate of a shared expert, which stays as it is";
    else if (!of_language_model(&m->arch, t->name))
        why = "is no part of the language model";
    else if (!q->to->piece->suffix && !is_expert_weight(m, i))
        why = "is no expert's weight, and the layout of this family has no other in that format";
    else if (s.id == SLOT_EMBEDDING)
        why = "is an embedding, not a linear layer";
    else if (!s.linear || !(dtype_is_float(t->dtype) || is_coded_weight(m, i)) || t->rank < 2 ||
             (!is_expert_weight(m, i) && !is_coded_weight(m, i) && !ends_with(t->name, ".weight")))
        why = "is not the weight of a linear layer";
    if (why)
        return err_set(e, ERR_INPUT, "tensor '%s' %s: leave it out with --exclude", t->name, why);
    return check_size(q, i, e);
}

/* Runtimes have one number format for all routed experts. */
static int check_experts(const struct quantization *q, struct err *e)
{
    const struct model *m = q->m;
    const struct tensor *in = NULL, *out = NULL;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++)
        if (is_expert_weight(m, i)) {
            in = q->chosen[i] ? m->ckpt.tensor[i] : in;
            out = q->chosen[i] ? out : m->ckpt.tensor[i];
        }
    if (in && out)
        return err_set(e, ERR_INPUT,
                       "'%s' would become %s but '%s' would not: convert all routed experts or none",
                       in->name, q->encode->target, out->name);
    return 0;
}

/* Models that are in that format, or that no layout of it is known for. */
static int check_source(const struct quantization *q, const char *target, struct err *e)
{
    const struct model *m = q->m;
    const struct encoder *x = NULL;
    size_t i;

    if (m->layout == EXPERTS_INTERLEAVED && q->encode->broken)
        return err_set(e, ERR_UNKNOWN, "'%s': %s is not written for the family %s: %s", m->dir, target,
                       m->arch.family->name, q->encode->broken);
    for (i = 0; i < m->ckpt.n && !q->to; i++)
        if (m->role[i].role == ROLE_EXPERTS && m->role[i].use == USE_WEIGHT)
            return err_set(e, ERR_UNKNOWN,
                           "'%s': tensor '%s' holds all experts of a layer (%s), and no layout of %s is "
                           "known for that in the family %s",
                           m->dir, m->ckpt.tensor[i]->name, expert_layout_name(m->layout), target,
                           m->arch.family->name);
    if (model_coded(m)) /* else its config.json is left over */
        x = model_expert_format(m)->encode;
    for (; x && x->target; x++)
        if (strcmp(x->target, target) == 0)
            return err_set(e, ERR_INPUT, "'%s' is quantized already, as %s: make it BF16 first (-t bf16)",
                           m->dir, model_expert_format(m)->title);
    return 0;
}

/* Sums of another model, or without those that are asked for. */
static int check_matrices(struct quantization *q, const struct quantize_options *o, struct err *e)
{
    struct model_id id;

    if (!o->matrices)
        return 0;
    if (!q->encode->weighs)
        return err_set(e, ERR_USAGE, "--matrices has no part in %s, whose scales are not chosen by error",
                       q->encode->target);
    if (model_id_of(&id, q->m, e) ||
        model_id_check(&o->matrices->head.model, "the file of --matrices", &id, q->m->dir, e))
        return -1;
    if (!o->matrices->vector[SUM_INPUT_SQUARE] || !o->matrices->vector[SUM_INNER_SQUARE])
        return err_set(e, ERR_INPUT,
                       "the file of --matrices has no input_square_sum and inner_square_sum: make it "
                       "anew with moe-observe");
    q->matrices = o->matrices;
    return 0;
}

static int select_coded(struct quantization *q, const char *target, const struct quantize_options *o,
                        struct err *e)
{
    const struct model *m = q->m;
    bool any = false;
    size_t i;

    if (check_source(q, target, e) || check_matrices(q, o, e))
        return -1;
    for (i = 0; i < m->ckpt.n; i++) {
        const char *name = m->ckpt.tensor[i]->name;

        q->chosen[i] =
            (o->include ? matches(name, o->include) : is_expert_weight(m, i)) && !matches(name, o->exclude);
        if (q->chosen[i] && check_chosen(q, i, e))
            return -1;
        any = any || q->chosen[i];
    }
    if (!any)
        return err_set(e, ERR_INPUT, "no tensor of '%s' is left to convert: look at --include and --exclude",
                       m->dir);
    return check_experts(q, e);
}

/* ---- to BF16 ---- */

static int select_bf16(struct quantization *q, const struct quantize_options *o, struct err *e)
{
    const struct model *m = q->m;
    bool any = false;
    size_t i;

    if (o->include || o->exclude || o->matrices)
        return err_set(
            e, ERR_USAGE,
            "--include, --exclude and --matrices do not go with -t bf16: all that is quantized becomes "
            "BF16");
    for (i = 0; i < m->ckpt.n; i++)
        any = any || is_coded_weight(m, i);
    return any ? 0
               : err_set(e, ERR_INPUT, "'%s' holds no quantized tensor: there is nothing to convert%s",
                         m->dir,
                         m->arch.claims > 1 ? "; take the quantization_config out of config.json" : "");
}

int quant_select(struct quantization *q, const struct model *m, const char *target,
                 const struct quantize_options *o, struct err *e)
{
    size_t i;
    int r;

    *q = (struct quantization){.m = m};
    if (!find_target(q, target))
        return err_set(e, ERR_USAGE, "'%s' is no number format that is written", target);
    if (!m->ckpt.container->folder)
        return err_set(e, ERR_UNKNOWN, "'%s' is a file of %s, in which moe-quant changes nothing", m->dir,
                       m->ckpt.container->name);
    q->chosen = mem_new(m->ckpt.n, sizeof *q->chosen, e);
    r = !q->chosen ? -1 : q->to == &format_plain ? select_bf16(q, o, e) : select_coded(q, target, o, e);
    for (i = 0; !r && i < m->ckpt.n; i++)
        q->maps += q->chosen[i] || is_coded_weight(m, i);
    q->map = r ? NULL : mem_new(q->maps, sizeof *q->map, e);
    if (q->map)
        return 0;
    q->maps = 0;
    quant_free(q);
    return -1;
}

void quant_free(struct quantization *q)
{
    size_t i;

    for (i = 0; i < q->maps; i++)
        quant_map_free(&q->map[i]);
    free(q->map);
    free(q->chosen);
    *q = (struct quantization){0};
}

/* ---- new names and shapes ---- */

/* A piece of what a map becomes, [.., and then its shape]. */
static int add_piece(struct rewrite *rw, size_t i, struct quant_map *map, const struct piece *p,
                     const char *base, int lead, struct err *e)
{
    struct out_tensor *t = rewrite_add(rw, i, e);
    const char *suffix = piece_suffix(p, rw->m->role[i].role == ROLE_EXPERTS);
    uint64_t shape[PIECE_DIMS] = {2};
    int rank = p->size ? 1 : piece_shape(p, map->encode->block, map->out, map->in, map->io, shape);

    if (!t)
        return -1;
    t->map = map;
    t->use = p->use;
    t->t.dtype = encoder_dtype(map->encode, p);
    t->t.name = rewrite_name(rw, mem_printf(e, "%s%s", base, suffix), e);
    t->t.rank = lead + rank;
    memcpy(t->t.shape, map->from.piece[USE_WEIGHT]->shape, (size_t)lead * sizeof *shape);
    memcpy(t->t.shape + lead, shape, (size_t)rank * sizeof *shape);
    return t->t.name ? 0 : -1;
}

/* The map of a weight, whose name is base and a suffix. */
static bool find_source(const struct model *m, size_t i, const char *base, struct linear_tensors *l)
{
    const struct tensor_role *r = &m->role[i];

    if (r->role == ROLE_EXPERTS)
        model_expert_linear(m, r->layer, 0, r->part, l);
    else
        model_linear(m, -1, base + strlen(m->arch.prefix), l);
    return l->as && l->piece[USE_WEIGHT] == m->ckpt.tensor[i];
}

static void set_together(const struct model *m, size_t i, struct quant_map *map)
{
    struct slot s = {.id = SLOT_NONE};

    slot_of(m, i, &s);
    map->layer = m->role[i].layer;
    map->expert = m->role[i].role == ROLE_EXPERT ? m->role[i].expert : -1;
    map->most = -1;
    if (m->role[i].role == ROLE_EXPERT)
        map->with = m->role[i].part == PART_DOWN ? ALONE : GATE_UP;
    else if (s.id == SLOT_Q || s.id == SLOT_K || s.id == SLOT_V)
        map->with = QKV;
    else if (s.id == SLOT_GATE || s.id == SLOT_UP)
        map->with = GATE_UP;
    else if (s.id == SLOT_SHARED_GATE || s.id == SLOT_SHARED_UP)
        map->with = SHARED_GATE_UP;
}

/* The sums of squares of what an expert's matrix reads; NULL: that is not known. */
static const double *find_energy(const struct matrices *x, const struct tensor_role *r)
{
    enum expert_sum sum = r->part == PART_DOWN ? SUM_INNER_SQUARE : SUM_INPUT_SQUARE;
    int l;

    if (!x || (r->role != ROLE_EXPERT && r->role != ROLE_EXPERTS))
        return NULL;
    for (l = 0; l < x->head.n_layers; l++)
        if (x->head.layer[l] == r->layer)
            return matrices_vector(x, sum, l) +
                   (r->role == ROLE_EXPERT ? (size_t)r->expert * (size_t)matrices_width(x, sum) : 0);
    return NULL; /* of an MTP layer */
}

static int plan_pieces(struct quantization *q, struct rewrite *rw, size_t i, struct quant_map *map,
                       const char *base, struct err *e)
{
    const struct tensor *t = q->m->ckpt.tensor[i];
    bool fused = q->m->role[i].role == ROLE_EXPERTS;
    uint64_t out, in;
    const struct piece *p;
    int lead = fused ? t->rank - 2 : 0;

    map->to = q->chosen[i] ? q->to : &format_plain;
    map->encode = q->chosen[i] ? q->encode : format_plain.encode;
    if (!find_source(q->m, i, base, &map->from) || !map_size(q->m, i, &map->n, &out, &in))
        return err_set(e, ERR_INPUT, "'%s': what belongs to tensor '%s' is not there", q->m->dir, t->name);
    map->out = (size_t)out;
    map->in = (size_t)in;
    map->from_io = fused && model_in_out(q->m, map->from.as->format);
    map->io = fused && map->to == &format_plain && input_major(q->m, i);
    if (fused && map->from.as->format->piece->dim[2].of != DIM_END)
        lead = t->rank - 3;
    set_together(q->m, i, map);
    map->energy = q->chosen[i] ? find_energy(q->matrices, &q->m->role[i]) : NULL;
    if (quant_check_source(map, q->m->dir, e))
        return -1;
    FOR_PIECES(p, map->to)
    if ((!p->optional || p->size) && add_piece(rw, i, map, p, base, lead, e))
        return -1;
    return 0;
}

static int plan_map(struct quantization *q, struct rewrite *rw, size_t i, struct quant_map *map,
                    struct err *e)
{
    const struct tensor *t = q->m->ckpt.tensor[i];
    const struct tensor_role *role = &q->m->role[i];
    const struct piece *p = role->piece ? role->piece : format_plain.piece;
    char *base =
        mem_strndup(t->name, strlen(t->name) - strlen(piece_suffix(p, role->role == ROLE_EXPERTS)), e);
    int r = base ? plan_pieces(q, rw, i, map, base, e) : -1;

    free(base);
    return r;
}

static int by_reference_order(const void *a, const void *b)
{
    const struct tensor *x = &((const struct out_tensor *)a)->t, *y = &((const struct out_tensor *)b)->t;

    return x->dtype != y->dtype ? (x->dtype < y->dtype ? 1 : -1) : strcmp(x->name, y->name);
}

/* Pieces of a map beside each other, maps by name, and then what is copied. */
static int by_map(const void *a, const void *b)
{
    const struct out_tensor *x = a, *y = b;

    if (!x->map != !y->map)
        return x->map ? -1 : 1;
    return x->map != y->map ? (x->map < y->map ? -1 : 1) : by_reference_order(a, b);
}

/* Whether every map ends where any dtype of the file may begin. */
static bool keeps_aligned(const struct out_shard *s)
{
    uint64_t bytes = 0, n;
    unsigned most = 1;
    size_t i;

    for (i = 0; i < s->n; i++)
        most = dtype_bytes(s->out[i].t.dtype) > most ? dtype_bytes(s->out[i].t.dtype) : most;
    for (i = 0; i < s->n && s->out[i].map; i++) {
        if (!dtype_size(s->out[i].t.dtype, tensor_count(&s->out[i].t), &n))
            return false;
        bytes += n;
        if ((i + 1 == s->n || s->out[i + 1].map != s->out[i].map) && bytes % most)
            return false;
    }
    return true;
}

/* As the reference writer does, unless pieces of a map are of several dtypes, and would stand apart. */
static void order_shard(struct out_shard *s)
{
    bool apart = false;
    size_t i;

    qsort(s->out, s->n, sizeof *s->out, by_map);
    for (i = 1; i < s->n && s->out[i].map; i++)
        apart = apart || (s->out[i].map == s->out[i - 1].map && s->out[i].t.dtype != s->out[i - 1].t.dtype);
    if (!apart || !keeps_aligned(s))
        qsort(s->out, s->n, sizeof *s->out, by_reference_order);
}

int quant_plan(struct quantization *q, struct rewrite *rw, struct err *e)
{
    const struct model *m = q->m;
    size_t i, map = 0;
    int k, r = 0;

    for (i = 0; i < m->ckpt.n && !r; i++) {
        if (q->chosen[i] || is_coded_weight(m, i))
            r = plan_map(q, rw, i, &q->map[map++], e);
        else if (!is_coded(m, i))
            r = rewrite_add(rw, i, e) ? 0 : -1;
    }
    for (k = 0; k < m->ckpt.shards && !r; k++)
        if (rw->shard[k].n)
            order_shard(&rw->shard[k]);
    return r;
}

/* ---- config.json ---- */

static void names_free(char **name, size_t n)
{
    while (n-- > 0)
        free(name[n]);
    free(name);
}

/* The linear layers that are not converted, NULL-terminated. Every name is written out: runtimes that fuse q,
 * k and v look for each of the three. *n: how many. */
static char **ignored(const struct quantization *q, size_t *n, struct err *e)
{
    const struct model *m = q->m;
    char **name = mem_new(m->ckpt.n + 2, sizeof *name, e);
    bool head = false;
    size_t i;

    *n = 0;
    for (i = 0; name && i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];

        head = head || strcmp(t->name, "lm_head.weight") == 0;
        const char *suffix = is_coded_weight(m, i) ? m->role[i].piece->suffix : ".weight";

        if (q->chosen[i] || (is_coded(m, i) && !is_coded_weight(m, i)) || t->rank != 2 || !suffix ||
            !ends_with(t->name, suffix) || ends_with(t->name, "embed_tokens.weight"))
            continue;
        name[*n] = mem_strndup(t->name, strlen(t->name) - strlen(suffix), e);
        if (!name[*n])
            goto fail;
        ++*n;
    }
    if (!name || head)
        return name;
    name[*n] = mem_strdup("lm_head", e); /* tied to the embedding, but a module of the runtime all the same */
    if (name[*n]) {
        ++*n;
        return name;
    }
fail:
    names_free(name, *n);
    return NULL;
}

static int set_config(const struct quantization *q, char **text, size_t *n, const char *what,
                      const char *const *path, struct err *e)
{
    struct json_out j = {.pretty = true, .base = 1};
    size_t names;
    char **name = ignored(q, &names, e);
    int r = -1;

    if (!name)
        return -1;
    jo_open(&j, NULL, '{');
    q->encode->config(&j, q->encode, (const char *const *)name);
    jo_close(&j);
    if (str_ok(&j.s, e) == 0)
        r = json_set(text, n, what, path, j.s.p, e);
    str_free(&j.s);
    names_free(name, names);
    return r;
}

int quant_config(const struct quantization *q, char **text, size_t *n, struct err *e)
{
    static const char *const path[] = {"quantization_config", NULL};
    char *what = path_join(q->m->dir, "config.json", e);
    int r = -1;

    *n = q->m->config_n;
    *text = what ? mem_strndup(q->m->config_text, q->m->config_n, e) : NULL;
    if (*text)
        r = q->encode->config ? set_config(q, text, n, what, path, e) : json_remove(text, n, what, path, e);
    if (r < 0) {
        free(*text);
        *text = NULL;
    }
    free(what);
    return r < 0 ? -1 : 0;
}
