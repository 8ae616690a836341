/* serving.c -- what the rules about servers ask of a model, and which of them bite. */
#include "surgery/serving.h"

#include <string.h>

#include "base/json.h"
#include "base/words.h"
#include "model/container.h"
#include "surgery/prune.h"

const char *server_name(enum server s)
{
    static const char *const name[SERVERS] = {"transformers", "vLLM", "SGLang", "llama.cpp", "Ollama"};

    return name[s];
}

const char *serving_grade_name(enum serving_grade g)
{
    static const char *const name[] = {"fine", "slower", "refuses"};

    return name[g];
}

/* ---- what is asked of a model ---- */

/* How many experts the tensor of an MTP layer speaks of: one more than the number in its name, or its rows.
 */
static int mtp_experts(const struct tensor *t)
{
    const char *at = strstr(t->name, "experts.");
    int number;

    if (!at || (at != t->name && at[-1] != '.'))
        return 0;
    at += strlen("experts.");
    if (take_number(&at, &number))
        return number + 1;
    return t->rank && t->shape[0] < INT32_MAX ? (int)t->shape[0] : 0;
}

/* Whether n is some whole blocks and a part of one: of a part alone the block is as long as it is. */
static bool cuts_block(uint64_t n, int block)
{
    return n > (uint64_t)block && n % (uint64_t)block;
}

/* Whether a matrix [.., rows, columns] ends so. */
static bool cuts_tiles(const struct tensor *t, struct block_size b)
{
    return b.out > 1 && b.in > 1 && t->rank >= 2 &&
           (cuts_block(t->shape[t->rank - 2], b.out) || cuts_block(t->shape[t->rank - 1], b.in));
}

static void look_at(struct serving *s, const struct tensor *t, const struct tensor_role *r)
{
    int experts = r->role == ROLE_MTP ? mtp_experts(t) : 0;

    s->mtp_experts = experts > s->mtp_experts ? experts : s->mtp_experts;
    s->nvfp4 = s->nvfp4 || t->dtype == DT_NVFP4;
    if (!r->as)
        return;
    if (r->use == USE_WEIGHT) {
        s->used[r->as - s->m->arch.claim] = true;
        s->cut_tiles = s->cut_tiles || (r->as->format->coding == CODING_E4M3 && cuts_tiles(t, r->as->block));
    }
    s->zeros = s->zeros || (r->use == USE_ZERO && r->as->format->coding == CODING_PACKED);
}

/* Those of transformers, of which llama.cpp's converter takes the first. */
static bool stale_count(const cJSON *config, int experts)
{
    static const char *const key[] = {"num_local_experts", "num_experts", "n_routed_experts",
                                      "moe_num_experts"};
    size_t i;

    for (i = 0; i < sizeof key / sizeof *key; i++) {
        const cJSON *v = json_member(config, key[i]);

        if (cJSON_IsNumber(v) && v->valuedouble != experts)
            return true;
    }
    return false;
}

static int look_at_config(struct serving *s, struct err *e)
{
    const struct model *m = s->m;
    const cJSON *text, *quantized, *method;
    cJSON *config;

    if (json_parse(m->config_text, m->config_n, m->config_name, &config, e))
        return -1;
    text = json_member(config, "text_config");
    quantized = json_member(config, "quantization_config");
    method = json_member(quantized ? quantized : json_member(text, "quantization_config"), "quant_method");
    s->stale = stale_count(config, m->arch.experts) || stale_count(text, m->arch.experts);
    s->autoround = cJSON_IsString(method) && strcmp(method->valuestring, "auto-round") == 0;
    cJSON_Delete(config);
    return 0;
}

int serving_open(struct serving *s, const struct model *m, struct err *e)
{
    size_t i;

    *s = (struct serving){.m = m};
    for (i = 0; i < m->ckpt.n; i++)
        look_at(s, m->ckpt.tensor[i], &m->role[i]);
    return look_at_config(s, e);
}

/* ---- which rules bite ---- */

static bool has_format(const struct serving *s, const char *title)
{
    int i;

    for (i = 0; i < s->m->arch.claims; i++)
        if (s->used[i] && strcmp(s->m->arch.claim[i].format->title, title) == 0)
            return true;
    return false;
}

static bool bites(const struct serving *s, int keep, const struct serving_rule *r)
{
    return serving_takes(s, r->server) && (!r->gguf || !s->m->ckpt.container->folder) &&
           (!r->family || strcmp(r->family, s->m->arch.family->name) == 0) &&
           (!r->format || has_format(s, r->format)) && (!r->when || r->when(s, keep, r));
}

bool serving_takes(const struct serving *s, enum server server)
{
    return s->m->ckpt.container->folder || server == SERVER_LLAMA_CPP || server == SERVER_OLLAMA;
}

int serving_rules(const struct serving *s, int keep, enum server server,
                  const struct serving_rule *rule[SERVING_RULES])
{
    const struct serving_rule *r;
    int rules, n = 0;

    for (r = serving_rule_table(&rules); rules-- && n < SERVING_RULES; r++)
        if (r->server == server && bites(s, keep, r))
            rule[n++] = r;
    return n;
}

/* How many rules of each grade. */
struct against {
    int n[SERVING_REFUSES + 1];
};

static struct against against(const struct serving *s, int keep)
{
    struct against a = {{0}};
    const struct serving_rule *r;
    int rules;

    for (r = serving_rule_table(&rules); rules--; r++)
        a.n[r->grade] += bites(s, keep, r);
    return a;
}

static bool may_be(const struct serving *s, int keep)
{
    struct expert_groups groups = prune_groups(s->m);

    return keep >= groups.topk && keep < groups.experts && groups_allow(&groups, keep);
}

/* Whether keep has so few refusals, and fewer of what slows down if `slower` says a number. */
static bool is_better(const struct serving *s, int keep, int refuses, int slower)
{
    struct against a;

    if (!may_be(s, keep))
        return false;
    a = against(s, keep);
    return a.n[SERVING_REFUSES] == refuses && (slower < 0 || a.n[SERVING_SLOWER] < slower);
}

void serving_near(const struct serving *s, int keep, int *below, int *above)
{
    struct against now = against(s, keep);
    int refuses = now.n[SERVING_REFUSES], slower, k;

    for (k = 1; k < s->m->arch.experts; k++)
        if (may_be(s, k) && against(s, k).n[SERVING_REFUSES] < refuses)
            refuses = against(s, k).n[SERVING_REFUSES];
    slower = refuses < now.n[SERVING_REFUSES] ? -1 : now.n[SERVING_SLOWER];
    for (*below = keep - 1; *below > 0 && !is_better(s, *below, refuses, slower); --*below)
        ;
    for (*above = keep + 1; *above < s->m->arch.experts && !is_better(s, *above, refuses, slower); ++*above)
        ;
    *below = *below > 0 ? *below : 0;
    *above = *above < s->m->arch.experts ? *above : 0;
}
