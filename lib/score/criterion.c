/* criterion.c -- the table of criteria, and what each makes of the sums. */
#include "score/score.h"

#include <stddef.h>
#include <string.h>

#include "score/pool.h"

#define REAP     "REAP, arXiv 2510.13999"
#define ONE_SHOT "arXiv 2606.15716"
/* Of a row: kind, powers, column. */
#define POWER(b, a, c) CRITERION_POWERS, b, a, c, 0
#define COLUMN(column) CRITERION_COLUMN, 0, 0, 0, column
#define OTHER(kind)    kind, 0, 0, 0, 0

/* Names are the keys of the REAP repository where it has one. The default comes first. */
static const struct criterion table[] = {
    {CRITERION_DEFAULT,
     {"g2_ean_sum"},
     POWER(0, 2, 1),
     "sum of g^2*f: gated mass, sure choices weigh more",
     ONE_SHOT},
    {"reap", {NULL}, POWER(1, 1, 1), "mean of g*f: what a routed token loses without the expert", REAP},
    {"weighted_ean_sum",
     {"reap_sum"},
     POWER(0, 1, 1),
     "sum of g*f: what all tokens lose (total gated mass)",
     ONE_SHOT},
    {"reap_l2", {"reap2"}, POWER(1, 2, 2), "mean of (g*f)^2", "REAP's program"},
    {"weighted_ean_sum_l2",
     {"reap2_sum"},
     POWER(0, 2, 2),
     "sum of (g*f)^2: the squared error of removing it alone",
     ONE_SHOT},
    {"gate_squared_ean_mean", {"g2_ean_mean"}, POWER(1, 2, 1), "mean of g^2*f", ONE_SHOT},
    {"ean_mean", {"man"}, POWER(1, 0, 1), "mean of f: activation norm without the gate (MAN)", ONE_SHOT},
    {"ean_sum", {"ean"}, POWER(0, 0, 1), "sum of f (EAN)", ONE_SHOT},
    {"msan", {"man2"}, POWER(1, 0, 2), "mean of f^2 (MSAN)", ONE_SHOT},
    {"expert_frequency", {"frequency", "freq"}, POWER(0, 0, 0), "number of routed tokens", ONE_SHOT},
    {"weighted_expert_frequency_sum",
     {"weighted_frequency", "wfreq"},
     POWER(0, 1, 0),
     "sum of g (soft count over routed tokens)",
     "SEER-MoE, arXiv 2404.05089"},
    {"max",
     {"max_activations"},
     COLUMN(M_MAX),
     "largest |element| of the output",
     "super experts, arXiv 2507.23279"},
    {"easy_ep",
     {"easyep"},
     COLUMN(M_TGF),
     "column tgf: sum of t*g*f, t = 1 - cos(h, h + d)",
     "EASY-EP, arXiv 2504.06792"},
    {"hope",
     {"hope_conditional"},
     OTHER(CRITERION_HOPE),
     "pairs: mean of a_i*a_j, a = g*f, over the tokens of both",
     "HOPE, arXiv 2609.18916"},
    {"hope_sum",
     {"hope_unconditional"},
     OTHER(CRITERION_HOPE_SUM),
     "pairs: sum of a_i*a_j: a bound of gram",
     "HOPE, arXiv 2609.18916, without its division"},
    {"gram",
     {NULL},
     OTHER(CRITERION_GRAM),
     "pairs: sum of g_i*g_j*<f_i,f_j>: the exact squared error",
     "expansion of |sum of g*f over the removed|^2"},
    {"S(0,0,2)", {NULL}, POWER(0, 0, 2), "sum of f^2", ONE_SHOT},
    {"S(0,1,2)", {NULL}, POWER(0, 1, 2), "sum of g*f^2", ONE_SHOT},
    {"S(1,1,2)", {NULL}, POWER(1, 1, 2), "mean of g*f^2", ONE_SHOT},
    {"S(0,2,0)", {NULL}, POWER(0, 2, 0), "sum of g^2", ONE_SHOT},
    {"S(1,1,0)", {NULL}, POWER(1, 1, 0), "mean of g", ONE_SHOT},
    {"S(1,2,0)", {NULL}, POWER(1, 2, 0), "mean of g^2", ONE_SHOT},
};
enum { N_TABLE = sizeof table / sizeof *table, N_ALIAS = sizeof table->aliases / sizeof *table->aliases };

/* Not in the table: it has no value without its file. */
static const struct criterion from_file = {
    "file", {NULL}, OTHER(CRITERION_FILE), "the score of a criterion file", "moe-scores(5)"};

const struct criterion *criterion_table(int *n)
{
    *n = N_TABLE;
    return table;
}

static const struct criterion *find_powers(int b, int a, int c)
{
    int i;

    for (i = 0; i < N_TABLE; i++)
        if (table[i].kind == CRITERION_POWERS && table[i].b == b && table[i].a == a && table[i].c == c)
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
    return strcmp(name, from_file.name) == 0 ? &from_file : find_general(name);
}

const struct criterion *criterion_twin(const struct criterion *c)
{
    return c->kind == CRITERION_POWERS ? find_powers(!c->b, c->a, c->c) : NULL;
}

bool criterion_is_pair(const struct criterion *c)
{
    return c->kind == CRITERION_HOPE || c->kind == CRITERION_HOPE_SUM || c->kind == CRITERION_GRAM;
}

double criterion_value(const struct criterion *c, const struct pooled *p)
{
    static const int moment[3][3] = {{-1, M_F, M_F2}, {M_G, M_GF, M_GF2}, {M_G2, M_G2F, M_G2F2}};
    double sum;

    if (!(p->n > 0))
        return 0;
    if (c->kind == CRITERION_COLUMN)
        return p->m[c->column];
    sum = c->a || c->c ? p->m[moment[c->a][c->c]] : p->n;
    return c->b ? sum / p->n : sum;
}
