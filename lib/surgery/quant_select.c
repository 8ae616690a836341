/* quant_select.c -- what moe-quant converts, and what it calls the result. */
#include "surgery/quant_select.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/words.h"
#include "model/slots.h"

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

/* ---- to a coded format ---- */

static bool fits_layout(const struct format *f, const struct model *m)
{
    if (m->layout == EXPERTS_SPLIT)
        return f->piece->suffix;
    return f->piece->fused_suffix && (!f->interleaved || m->layout == EXPERTS_INTERLEAVED);
}

/* The format of this name that a model of this layout can have; NULL: none. *known: there is such a name. */
static const struct format *find_target(const struct model *m, const char *target, bool *known)
{
    int n, i;
    const struct format *const *f = format_table(&n);

    *known = false;
    for (i = 0; i < n; i++) {
        if (!f[i]->encode || strcmp(f[i]->encode->target, target) != 0)
            continue;
        *known = true;
        if (fits_layout(f[i], m))
            return f[i];
    }
    return NULL;
}

/* The plain numbers of a chosen tensor are [in][out]. */
static bool input_major(const struct model *m, size_t i)
{
    return m->role[i].role == ROLE_EXPERTS && model_in_out(m, &format_plain);
}

/* Elements of a row: the dimension that is summed over. */
static uint64_t row_length(const struct model *m, size_t i)
{
    const struct tensor *t = m->ckpt.tensor[i];

    return t->shape[t->rank - (input_major(m, i) ? 2 : 1)];
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
    else if (strncmp(t->name, m->arch.prefix, strlen(m->arch.prefix)) != 0)
        why = "is no part of the language model";
    else if (!q->to->piece->suffix && !is_expert_weight(m, i))
        why = "is no expert's weight, and the layout of this family has no other in that format";
    else if (s.id == SLOT_EMBEDDING)
        why = "is an embedding, not a linear layer";
    else if (!s.linear || !dtype_is_float(t->dtype) || t->rank < 2 ||
             (!is_expert_weight(m, i) && !ends_with(t->name, ".weight")))
        why = "is not the weight of a linear layer";
    if (why)
        return err_set(e, ERR_INPUT, "tensor '%s' %s: leave it out with --exclude", t->name, why);
    if (row_length(m, i) % (uint64_t)q->to->multiple)
        return err_set(e, ERR_INPUT,
                       "tensor '%s' has rows of %llu elements, %s needs a multiple of %d: leave it out with "
                       "--exclude",
                       t->name, (unsigned long long)row_length(m, i), q->to->name, q->to->multiple);
    return 0;
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
                       in->name, q->to->name, out->name);
    return 0;
}

/* Models that are in another format, or that no layout of this one is known for. */
static int check_source(const struct quantization *q, const char *target, struct err *e)
{
    const struct model *m = q->m;
    size_t i;

    for (i = 0; i < (size_t)m->arch.claims; i++)
        if (m->arch.claim[i].format->encode && model_coded(m)) /* else its config.json is left over */
            return err_set(e, ERR_INPUT, "'%s' is quantized already: make it BF16 first (-t bf16)", m->dir);
    for (i = 0; i < m->ckpt.n; i++)
        if (m->role[i].as && role_format(&m->role[i])->name)
            return err_set(e, ERR_UNKNOWN,
                           "'%s': tensor '%s' is %s, and only BF16, F16 and F32 become %s: start from the "
                           "model's BF16 checkpoint",
                           m->dir, m->ckpt.tensor[i]->name, role_format(&m->role[i])->name, target);
    for (i = 0; i < m->ckpt.n && !q->to; i++)
        if (m->role[i].role == ROLE_EXPERTS)
            return err_set(e, ERR_UNKNOWN,
                           "'%s': tensor '%s' holds all experts of a layer (%s), and no layout of %s is "
                           "known for that in the family %s",
                           m->dir, m->ckpt.tensor[i]->name, expert_layout_name(m->layout), target,
                           m->arch.family->name);
    return 0;
}

static int select_coded(struct quantization *q, const char *target, const struct quantize_options *o,
                        struct err *e)
{
    const struct model *m = q->m;
    bool any = false;
    size_t i;

    if (check_source(q, target, e))
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

/* Whether tensor i is of a format that BF16 holds exactly. */
static bool is_exact(const struct model *m, size_t i)
{
    return m->role[i].as && role_format(&m->role[i])->exact;
}

static int select_bf16(struct quantization *q, const struct quantize_options *o, struct err *e)
{
    const struct model *m = q->m;
    const char *other = NULL;
    bool any = false;
    size_t i;

    if (o->include || o->exclude)
        return err_set(e, ERR_USAGE,
                       "--include and --exclude go with -t mxfp4: everything MXFP4 becomes BF16");
    for (i = 0; i < m->ckpt.n; i++) {
        q->chosen[i] = is_exact(m, i) && m->role[i].use == USE_WEIGHT;
        any = any || q->chosen[i];
        if (m->role[i].as && role_format(&m->role[i])->name && !is_exact(m, i))
            other = role_format(&m->role[i])->name;
    }
    return any ? 0
               : err_set(e, ERR_INPUT, "'%s' holds no MXFP4 tensor: there is nothing to convert%s%s%s",
                         m->dir, other ? " (" : "", other ? other : "",
                         other ? " is not decoded)"
                         : m->arch.claims > 1 && !model_coded(m)
                             ? "; take the quantization_config out of config.json"
                             : "");
}

int quant_select(struct quantization *q, const struct model *m, const char *target,
                 const struct quantize_options *o, struct err *e)
{
    bool known = strcmp(target, "bf16") == 0, coded = !known;
    size_t i;
    int r;

    *q = (struct quantization){.m = m};
    if (coded)
        q->to = find_target(m, target, &known);
    if (!known)
        return err_set(e, ERR_USAGE, "'%s' is no number format that is written", target);
    q->chosen = mem_new(m->ckpt.n, sizeof *q->chosen, e);
    r = !q->chosen ? -1 : coded ? select_coded(q, target, o, e) : select_bf16(q, o, e);
    for (i = 0; !r && i < m->ckpt.n; i++)
        q->maps += q->chosen[i];
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
    uint64_t shape[PIECE_DIMS];
    int rank = piece_shape(p, (struct block_size){0}, map->out, map->in, map->io && !map->encode, shape);

    if (!t)
        return -1;
    t->map = map;
    t->use = p->use;
    t->t.dtype = map->encode ? piece_dtype(p) : DT_BF16;
    t->t.name = rewrite_name(rw, mem_printf(e, "%s%s", base, suffix), e);
    t->t.rank = lead + rank;
    memcpy(t->t.shape + lead, shape, (size_t)rank * sizeof *shape);
    return t->t.name ? 0 : -1;
}

static uint64_t product(const uint64_t *n, int count)
{
    uint64_t all = 1;

    while (count-- > 0)
        all *= *n++;
    return all;
}

/* Plain [.., a, b] becomes all pieces of the format. */
static int plan_encode(struct quantization *q, struct rewrite *rw, size_t i, struct quant_map *map,
                       const char *base, struct err *e)
{
    const struct tensor *from = q->m->ckpt.tensor[i];
    bool io = input_major(q->m, i);
    int r = from->rank;
    const struct piece *p;

    map->format = q->to;
    map->encode = true;
    map->io = io;
    map->n = product(from->shape, r - 2);
    map->out = (size_t)from->shape[io ? r - 1 : r - 2];
    map->in = (size_t)from->shape[io ? r - 2 : r - 1];
    map->from[USE_WEIGHT] = from;
    FOR_PIECES(p, q->to)
    if (!p->optional && add_piece(rw, i, map, p, base, r - 2, e))
        return -1;
    return 0;
}

/* Out and in of a map from the shape of its packed weight, whose first `lead` dimensions count maps. */
static void unpacked(const struct tensor *t, const struct piece *p, struct quant_map *map, int *lead)
{
    int i, rank = 0;

    while (rank < PIECE_DIMS && p->dim[rank].of != DIM_END)
        rank++;
    *lead = t->rank - rank;
    for (i = 0; i < rank; i++)
        if (p->dim[i].of != DIM_FIXED)
            *(p->dim[i].of == DIM_OUT ? &map->out : &map->in) =
                (size_t)t->shape[*lead + i] * (size_t)p->dim[i].per;
    map->n = product(t->shape, *lead);
}

/* The other pieces of a packed weight, which must be there: not every tensor belongs to a map that was
 * checked. */
static int find_pieces(struct quantization *q, struct quant_map *map, const char *base, bool fused,
                       struct err *e)
{
    uint64_t shape[PIECE_DIMS], bytes;
    const struct piece *p;
    int rank;

    FOR_PIECES(p, map->format)
    {
        char *name;
        const struct tensor *t;

        if (p->optional) /* goes along */
            continue;
        name = mem_printf(e, "%s%s", base, piece_suffix(p, fused));
        t = name ? checkpoint_find(&q->m->ckpt, name) : NULL;

        rank = piece_shape(p, (struct block_size){0}, map->out, map->in, false, shape);
        if (!t || !dtype_size(t->dtype, map->n * product(shape, rank), &bytes) || bytes != t->size) {
            err_set(e, ERR_INPUT, "'%s': tensor '%s' has no '%s' of the right size", q->m->dir,
                    map->from[USE_WEIGHT]->name, name);
            free(name);
            return -1;
        }
        free(name);
        map->from[p->use] = t;
    }
    return 0;
}

static int plan_decode(struct quantization *q, struct rewrite *rw, size_t i, struct quant_map *map,
                       const char *base, struct err *e)
{
    const struct tensor_role *role = &q->m->role[i];
    int lead;

    map->format = role_format(role);
    map->io =
        input_major(q->m, i) && !role->piece->last; /* else rows as stored are those of the plain form */
    map->from[USE_WEIGHT] = q->m->ckpt.tensor[i];
    unpacked(q->m->ckpt.tensor[i], role->piece, map, &lead);
    return find_pieces(q, map, base, role->role == ROLE_EXPERTS, e)
               ? -1
               : add_piece(rw, i, map, format_plain.piece, base, lead, e);
}

static int plan_map(struct quantization *q, struct rewrite *rw, size_t i, struct quant_map *map,
                    struct err *e)
{
    const struct tensor *t = q->m->ckpt.tensor[i];
    const struct tensor_role *role = &q->m->role[i];
    char *base = mem_strndup(
        t->name, strlen(t->name) - strlen(piece_suffix(role->piece, role->role == ROLE_EXPERTS)), e);
    int r = !base ? -1 : q->to ? plan_encode(q, rw, i, map, base, e) : plan_decode(q, rw, i, map, base, e);

    free(base);
    return r;
}

static int by_reference_order(const void *a, const void *b)
{
    const struct tensor *x = &((const struct out_tensor *)a)->t, *y = &((const struct out_tensor *)b)->t;

    return x->dtype != y->dtype ? (x->dtype < y->dtype ? 1 : -1) : strcmp(x->name, y->name);
}

int quant_plan(struct quantization *q, struct rewrite *rw, struct err *e)
{
    const struct model *m = q->m;
    size_t i, map = 0;
    int k, r = 0;

    for (i = 0; i < m->ckpt.n && !r; i++) {
        if (q->chosen[i])
            r = plan_map(q, rw, i, &q->map[map++], e);
        else if (q->to || !is_exact(m, i))
            r = rewrite_add(rw, i, e) ? 0 : -1;
    }
    for (k = 0; k < m->ckpt.shards && !r; k++)
        if (rw->shard[k].n)
            qsort(rw->shard[k].out, rw->shard[k].n, sizeof *rw->shard[k].out, by_reference_order);
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
        if (q->chosen[i] || t->rank != 2 || !ends_with(t->name, ".weight") ||
            ends_with(t->name, "embed_tokens.weight"))
            continue;
        name[*n] = mem_strndup(t->name, strlen(t->name) - strlen(".weight"), e);
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
    q->to->encode->config(&j, (const char *const *)name);
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
        r = q->to ? set_config(q, text, n, what, path, e) : json_remove(text, n, what, path, e);
    if (r < 0) {
        free(*text);
        *text = NULL;
    }
    free(what);
    return r < 0 ? -1 : 0;
}
