/* inspect_serving.c -- what servers make of a model, and the memory it takes there. */
#include "inspect_serving.h"

#include "base/num.h"
#include "common.h"
#include "model/container.h"
#include "model/summary.h"

static void print_rule(enum server server, const struct serving_rule *r)
{
    printf("  %-12s  ", server_name(server));
    if (r)
        printf("%-7s  %s (%s%s%s)\n", serving_grade_name(r->grade), r->words, r->release ? r->release : "",
               r->release ? ", " : "", r->source);
    else
        puts(serving_grade_name(SERVING_FINE));
}

static void print_near(const struct serving *s, int keep)
{
    int below, above;

    serving_near(s, keep, &below, &above);
    if (below && above)
        printf("  %d or %d experts, the nearest such numbers, meet fewer obstacles\n", below, above);
    else if (below || above)
        printf("  %d experts, the nearest such number, meet fewer obstacles\n", below ? below : above);
}

void serving_text(const struct serving *s, int keep, uint64_t weights, int64_t context)
{
    const struct serving_rule *rule[SERVING_RULES];
    uint64_t kv = model_kv_bytes(s->m, context);
    char b1[32], b2[32], b3[32];
    int server, n, i;

    printf("memory: weights %s, key-value cache of %lld tokens %s (bf16): %s, and what a runtime needs\n",
           num_bytes(weights, b1), (long long)context, num_bytes(kv, b2), num_bytes(weights + kv, b3));
    printf("serving:\n");
    for (server = 0; server < SERVERS; server++) {
        if (!serving_takes(s, server))
            continue;
        n = serving_rules(s, keep, server, rule);
        for (i = 0; i < n; i++)
            print_rule(server, rule[i]);
        if (!n)
            print_rule(server, NULL);
    }
    print_near(s, keep);
}

static void rule_json(struct json_out *j, enum server server, const struct serving_rule *r)
{
    jo_open(j, NULL, '{');
    jo_string(j, "server", server_name(server));
    jo_string(j, "grade", serving_grade_name(r ? r->grade : SERVING_FINE));
    jo_string(j, "reason", r ? r->words : NULL);
    jo_string(j, "release", r ? r->release : NULL);
    jo_string(j, "source", r ? r->source : NULL);
    jo_close(j);
}

void serving_json(struct json_out *j, const struct serving *s, int keep, uint64_t weights, int64_t context)
{
    const struct serving_rule *rule[SERVING_RULES];
    uint64_t kv = model_kv_bytes(s->m, context);
    int server, n, i, near[2];

    jo_int(j, "context", context);
    jo_uint(j, "weights_bytes", weights);
    jo_uint(j, "kv_bytes", kv);
    jo_uint(j, "total_bytes", weights + kv);
    jo_open(j, "serving", '[');
    for (server = 0; server < SERVERS; server++) {
        if (!serving_takes(s, server))
            continue;
        n = serving_rules(s, keep, server, rule);
        for (i = 0; i < n; i++)
            rule_json(j, server, rule[i]);
        if (!n)
            rule_json(j, server, NULL);
    }
    jo_close(j);
    serving_near(s, keep, &near[0], &near[1]);
    jo_open(j, "nearest", '[');
    for (i = 0; i < 2; i++)
        if (near[i])
            jo_int(j, NULL, near[i]);
    jo_close(j);
}

int serving_below(const struct model *m, int keep)
{
    struct serving s;
    struct err e = {0};
    int below, above;

    if (serving_open(&s, m, &e))
        die(&e);
    serving_near(&s, keep, &below, &above);
    return below;
}

void serving_problems(struct findings *f, const struct serving *s)
{
    const struct serving_rule *rule[SERVING_RULES];
    struct err e = {0};
    int n, i;

    if (s->m->ckpt.container->folder)
        return;
    n = serving_rules(s, s->m->arch.experts, SERVER_LLAMA_CPP, rule);
    for (i = 0; i < n; i++)
        if (rule[i]->grade == SERVING_REFUSES &&
            findings_add(f, FINDING_LOADING, mem_printf(&e, "llama.cpp: %s", rule[i]->words), &e))
            die(&e);
}
