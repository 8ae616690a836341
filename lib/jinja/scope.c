/* scope.c -- where the names of a template live: scopes, units and the slots that names become. */
#include <string.h>

#include "jinja/tree.h"

struct scope *scope_push(struct parse *p, bool unit)
{
    struct scope *s = parse_get(p, sizeof *s);

    s->up = p->scope;
    s->unit = s->up ? s->up->unit : NULL;
    if (unit) {
        struct unit *u = parse_get(p, sizeof *u);

        u->up = s->unit;
        u->loop = u->caller = u->kwargs = u->varargs = -1;
        s->unit = u;
    }
    p->scope = s;
    return s;
}

void scope_pop(struct parse *p, struct scope *s)
{
    p->scope = s->up;
}

int symbol_of(struct parse *p, const char *s, uint32_t n)
{
    int32_t i = map_find(&p->t->symbols, s, n);

    if (i >= 0)
        return i;
    i = (int32_t)p->t->symbols.n;
    if (map_set(&p->t->symbols, s, n, i, p->e))
        longjmp(p->leave, 1);
    return i;
}

static const struct binding *binding_of(const struct scope *s, int symbol)
{
    size_t i;

    for (i = 0; i < s->n; i++)
        if (s->name[i].symbol == symbol)
            return &s->name[i];
    return NULL;
}

int scope_declare(struct parse *p, struct scope *s, int symbol)
{
    const struct binding *b = binding_of(s, symbol);

    if (b)
        return b->slot;
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 8;
        struct binding *grown = parse_get(p, cap * sizeof *grown);

        if (s->n)
            memcpy(grown, s->name, s->n * sizeof *grown);
        s->name = grown;
        s->cap = cap;
    }
    if (s->unit->slots == UINT16_MAX)
        parse_fail(p, p->line, "more than %d variables", UINT16_MAX);
    s->name[s->n++] = (struct binding){symbol, (uint16_t)s->unit->slots};
    return (int)s->unit->slots++;
}

struct node *name_new(struct parse *p, const struct token *t)
{
    struct node *n = node_new(p, N_NAME, t->line);

    n->value = v_str(t->s, t->n);
    n->symbol = symbol_of(p, t->s, t->n);
    n->scope = p->scope;
    n->next_name = p->names;
    p->names = n;
    return n;
}

void target_declare(struct parse *p, struct node *target)
{
    uint32_t i;

    if (target->kind == N_NAME) {
        scope_declare(p, p->scope, target->symbol);
        target->scope = p->scope;
    }
    for (i = 0; target->kind == N_TUPLE && i < target->n; i++)
        target_declare(p, target->item[i]);
}

struct node *target_copy(struct parse *p, const struct node *target)
{
    struct node *n = node_new(p, target->kind, target->line);
    uint32_t i;

    if (target->kind == N_NAME) {
        n->value = target->value;
        n->symbol = target->symbol;
        n->next_name = p->names;
        p->names = n;
    }
    for (i = 0; i < target->n; i++)
        node_add(p, n, target_copy(p, target->item[i]));
    return n;
}

/* The special parameters of a macro are given to it only if its body speaks of them. */
static void note_special(struct unit *u, int slot, const struct node *name)
{
    if (v_is(name->value, "caller"))
        u->caller = slot;
    else if (v_is(name->value, "kwargs"))
        u->kwargs = slot;
    else if (v_is(name->value, "varargs"))
        u->varargs = slot;
}

static void resolve(struct parse *p, struct node *name)
{
    struct place found[64];
    const struct scope *s;
    const struct unit *u = name->scope->unit;
    uint16_t hops = 0;

    for (s = name->scope; s && name->places < 64; s = s->up) {
        const struct binding *b;

        for (; u != s->unit; u = u->up)
            hops++;
        b = binding_of(s, name->symbol);
        if (!b)
            continue;
        if (b->slot < 3)
            note_special(s->unit, b->slot, name);
        found[name->places++] = (struct place){hops, b->slot};
    }
    if (!name->places)
        return;
    name->place = parse_get(p, name->places * sizeof *name->place);
    memcpy(name->place, found, name->places * sizeof *found);
}

void names_resolve(struct parse *p)
{
    struct node *n;

    for (n = p->names; n; n = n->next_name)
        resolve(p, n);
}
