/* mend.c -- rows of the last matrix of an expert times its factor, in the format they are in. */
#include "surgery/mend.h"

#include <string.h>

#include "quant/floats.h"

static bool of_down(const struct tensor_role *role)
{
    return role->part == PART_DOWN && (role->role == ROLE_EXPERT || role->role == ROLE_EXPERTS);
}

/* One of the tensors that hold what is changed. */
static bool holds(const struct repair *r, const struct tensor_role *role)
{
    if (!of_down(role))
        return false;
    return role->use == USE_BIAS || (!r->bias && role->as && role->use == role_format(role)->scalable);
}

static const float *value_of(const struct repair *r, int layer, int expert)
{
    int l;

    for (l = 0; l < r->n_layers; l++)
        if (r->layer[l] == layer)
            return repair_value(r, l, expert);
    return NULL;
}

int mend_check(const struct repair *r, const struct model *m, const struct plan *p, struct err *e)
{
    bool any = false;
    size_t i;

    if (!r)
        return 0;
    if (m->cut_only)
        return err_set(e, ERR_UNKNOWN, "%s; the model can be cut, but not repaired", m->cut_only);
    if (model_id_check(&r->model, "the repair", &p->model, "the plan", e))
        return -1;
    if (r->n_layers != p->n_layers || memcmp(r->layer, p->layer, (size_t)r->n_layers * sizeof *r->layer) != 0)
        return err_set(e, ERR_INPUT, "the repair and the plan have different layers (%d and %d of them)",
                       r->n_layers, p->n_layers);
    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];
        const struct tensor_role *role = &m->role[i];
        const struct format *f = role_format(role);
        bool never = !r->bias && f && f->scalable == STORED_PIECES && of_down(role);

        if (!never && !holds(r, role))
            continue;
        any = true;
        if (role->axis < 0)
            return err_set(
                e, ERR_UNKNOWN,
                "tensor '%s' is one number for all experts, which cannot be multiplied by a factor "
                "for each",
                t->name);
        if (never || (t->dtype != DT_BF16 && t->dtype != DT_F32))
            return err_set(e, ERR_UNKNOWN, "tensor '%s' is %s, which cannot be multiplied by a factor%s",
                           t->name, never && f->name ? f->name : dtype_name(t->dtype),
                           never && f->exact ? "; moe-quant -t bf16 makes a model that can" : "");
    }
    return any ? 0
               : err_set(e, ERR_INPUT, "'%s': its experts have no biases, which the repair adds to", m->dir);
}

bool mend_changes(const struct repair *r, const struct tensor_role *role, int expert)
{
    const float *v = r && holds(r, role) ? value_of(r, role->layer, expert) : NULL;
    float none = r && r->bias ? 0 : 1;
    int i;

    for (i = 0; v && i < r->width; i++)
        if (v[i] != none)
            return true;
    return false;
}

void mend_apply(const struct repair *r, const struct tensor_role *role, const struct tensor *t, int expert,
                uint64_t at, void *bytes, size_t n)
{
    size_t size = dtype_bytes(t->dtype), first = (size_t)at / size, i;
    const float *v = value_of(r, role->layer, expert);

    for (i = 0; i < n / size; i++) {
        double x = float_at(t->dtype, bytes, i);

        float_put(t->dtype, bytes, i, (float)(r->bias ? x + v[first + i] : x * v[0]));
    }
}
