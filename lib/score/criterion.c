#include "score/score.h"

#include <stddef.h>
#include <string.h>

#include "score/pool.h"

/* Names are the keys of the REAP repository where it has one. */
static const struct criterion table[] = {
    {"reap", {NULL}, 1, 1, 1, "mean of g*f: what a routed token loses without the expert (REAP)"},
    {"weighted_ean_sum", {"reap_sum"}, 0, 1, 1, "sum of g*f: what all tokens lose (total gated mass)"},
    {"reap_l2", {"reap2"}, 1, 2, 2, "mean of (g*f)^2"},
    {"weighted_ean_sum_l2", {"reap2_sum"}, 0, 2, 2, "sum of (g*f)^2: the squared error of removing it alone"},
    {"ean_mean", {"man"}, 1, 0, 1, "mean of f: activation norm without the gate (MAN)"},
    {"ean_sum", {"ean"}, 0, 0, 1, "sum of f (EAN)"},
    {"msan", {"man2"}, 1, 0, 2, "mean of f^2 (MSAN)"},
    {"expert_frequency", {"frequency", "freq"}, 0, 0, 0, "number of routed tokens"},
    {"weighted_expert_frequency_sum",
     {"weighted_frequency", "wfreq"},
     0,
     1,
     0,
     "sum of g (soft count of SEER-MoE over routed tokens)"},
    {"max", {"max_activations"}, 0, 0, -1, "largest |element| of the output"},
    {"S(0,0,2)", {NULL}, 0, 0, 2, "sum of f^2"},
    {"S(0,1,2)", {NULL}, 0, 1, 2, "sum of g*f^2"},
    {"S(1,1,2)", {NULL}, 1, 1, 2, "mean of g*f^2"},
    {"S(0,2,0)", {NULL}, 0, 2, 0, "sum of g^2"},
    {"S(0,2,1)", {NULL}, 0, 2, 1, "sum of g^2*f"},
    {"S(1,2,1)", {NULL}, 1, 2, 1, "mean of g^2*f"},
    {"S(1,1,0)", {NULL}, 1, 1, 0, "mean of g"},
    {"S(1,2,0)", {NULL}, 1, 2, 0, "mean of g^2"},
};
enum { N_TABLE = sizeof table / sizeof *table, N_ALIAS = sizeof table->aliases / sizeof *table->aliases };

const struct criterion *criterion_table(int *n)
{
    *n = N_TABLE;
    return table;
}

static const struct criterion *find_powers(int b, int a, int c)
{
    int i;

    for (i = 0; i < N_TABLE; i++)
        if (table[i].b == b && table[i].a == a && table[i].c == c)
            return &table[i];
    return NULL;
}

/* "S(b,a,c)" or "b,a,c", one digit each. */
static const struct criterion *find_general(const char *name)
{
    bool paren = strncmp(name, "S(", 2) == 0;
    const char *p = paren ? name + 2 : name;

    if (strlen(p) != (paren ? 6u : 5u) || p[1] != ',' || p[3] != ',' || (paren && p[5] != ')') || p[4] < '0')
        return NULL;
    return find_powers(p[0] - '0', p[2] - '0', p[4] - '0');
}

const struct criterion *criterion_find(const char *name)
{
    int i, k;

    for (i = 0; i < N_TABLE; i++) {
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
        for (k = 0; k < N_ALIAS; k++)
            if (table[i].aliases[k] && strcmp(table[i].aliases[k], name) == 0)
                return &table[i];
    }
    return find_general(name);
}

const struct criterion *criterion_twin(const struct criterion *c)
{
    return c->c < 0 ? NULL : find_powers(!c->b, c->a, c->c);
}

double criterion_value(const struct criterion *c, const struct pooled *p)
{
    static const int moment[3][3] = {{-1, M_F, M_F2}, {M_G, M_GF, M_GF2}, {M_G2, M_G2F, M_G2F2}};
    double sum;

    if (!(p->n > 0))
        return 0;
    if (c->c < 0)
        return p->max;
    sum = c->a || c->c ? p->m[moment[c->a][c->c]] : p->n;
    return c->b ? sum / p->n : sum;
}

double criterion_score(const struct criterion *c, const struct expert_stats *s)
{
    struct pooled p = {.n = (double)s->n, .max = s->max};

    memcpy(p.m, s->m, sizeof p.m);
    return criterion_value(c, &p);
}
