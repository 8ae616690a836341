/*
 * test_serving.c -- the rules about servers: each row of the table bites where it should, and not beside it.
 * What no fixture is, is made of one by changing numbers of the model after it was opened.
 */
#include "check.h"

#include "base/json.h"
#include "surgery/serving.h"

#define FIXTURES "tests/fixtures/"

enum { MANY = 2048, ALL = 0 };

static struct err err;
static bool bitten[SERVING_RULES];

static struct family renamed; /* a row of another name */

static void rename_family(struct model *m, const char *name)
{
    renamed = *m->arch.family;
    renamed.name = name;
    m->arch.family = &renamed;
}

/* All maps that are not plain in the format of this title. */
static void set_format(struct model *m, const char *title)
{
    int n, i, k;
    const struct format *const *f = format_table(&n);

    for (i = 0; i < n; i++)
        for (k = 0; k + 1 < m->arch.claims && strcmp(f[i]->title, title) == 0; k++)
            m->arch.claim[k].format = f[i];
}

static void four_groups(struct model *m)
{
    m->arch.groups = 4;
    m->arch.topk_group = 1;
    m->arch.topk = 2;
}

static void many_groups(struct model *m)
{
    m->arch.groups = m->arch.experts = 64;
}

static void thirty_two_groups(struct model *m)
{
    m->arch.experts = 64;
    m->arch.groups = 32;
}

static void all_groups(struct model *m)
{
    m->arch.topk_group = m->arch.groups;
}

static void many_experts(struct model *m)
{
    m->arch.experts = MANY;
}

static void many_layers(struct model *m)
{
    m->arch.mtp_layers = 513 - m->arch.layers;
}

static void layers_512(struct model *m)
{
    m->arch.mtp_layers = 512 - m->arch.layers;
}

static void deepseek_v4(struct model *m)
{
    rename_family(m, "deepseek_v4");
    m->arch.experts = 256;
}

static void mixtral(struct model *m)
{
    rename_family(m, "mixtral");
}

static void minimax_m3(struct model *m)
{
    m->arch.hidden = 6144;
    m->arch.experts = 128;
}

static void six_experts(struct model *m)
{
    m->arch.experts = 6;
}

static void released_width(struct model *m)
{
    m->arch.inter = 2880;
}

static void gptq_v2(struct model *m)
{
    set_format(m, "GPTQ (v2)");
}

static void kimi_k2(struct model *m)
{
    m->arch.experts = 384;
}

static void llama4_128(struct model *m)
{
    m->arch.experts = 128;
}

static void released_llama4(struct model *m)
{
    int i;

    for (i = 0; i < m->arch.layers; i++) {
        m->arch.layer[i].attn.window = 8192;
        m->arch.layer[i].attn.temp_floor = 8192;
        m->arch.layer[i].attn.temp_scale = 0.1;
    }
}

static void another_count(struct model *m)
{
    static const char *const at[] = {"n_routed_experts", NULL};

    CHECK(json_set(&m->config_text, &m->config_n, "config.json", at, "17", &err) >= 0);
}

/* No FP8 matrix is larger than a block. */
static void within_blocks(struct model *m)
{
    size_t i;
    int d;

    for (i = 0; i < m->ckpt.n; i++)
        for (d = 0; d < 2 && m->ckpt.tensor[i]->dtype == DT_F8_E4M3; d++)
            if (m->ckpt.tensor[i]->shape[d] > 128)
                ((struct tensor *)m->ckpt.tensor[i])->shape[d] = 96;
}

static void nvfp4_blocks(struct model *m)
{
    ((struct tensor *)m->ckpt.tensor[0])->dtype = DT_NVFP4; /* the test's own model */
}

/* The rule with these words, against a model that was changed, with keep of its experts (ALL: all). */
static const struct rule_case {
    const char *model;
    void (*change)(struct model *m);
    int keep;
    enum server server;
    bool bites;
    const char *words;
} cases[] = {
#define TF     SERVER_TRANSFORMERS
#define VLLM   SERVER_VLLM
#define SGLANG SERVER_SGLANG
#define LLAMA  SERVER_LLAMA_CPP
    /* formats */
    {"qwen3-modelopt", NULL, ALL, TF, true, "loads the weights without their scales"},
    {"qwen3-modelopt", NULL, ALL, TF, true, "stops at the shapes"},
    {"qwen3-modelopt", NULL, ALL, TF, true, "takes no notice of the scales"},
    {"gptoss-nvfp4", NULL, ALL, TF, true, "stops at the shapes"},
    {"gptoss-nvfp4", NULL, ALL, TF, false, "without their scales"},
    {"gptoss-nvfp4", NULL, ALL, TF, false, "takes no notice"},
    {"llama4-mx", NULL, ALL, TF, true, "takes no notice of the scales"},
    {"qwen3-ct-mixed", NULL, ALL, TF, true, "global scales"},
    {"qwen3-ct-mixed", NULL, ALL, TF, true, "experts' tensors, or reads"},
    {"qwen3-ct-mixed", NULL, ALL, TF, true, "if FP8 has scales of blocks"},
    {"qwen3-ct-mixed", NULL, ALL, TF, true, "if packed integers have zero points"},
    {"qwen3-ct-mixed", NULL, ALL, TF, true, "rounds activations too"},
    {"glm4-fp8-rows", NULL, ALL, TF, true, "rounds activations too"},
    {"glm4-fp8-rows", NULL, ALL, TF, false, "joins the experts"},
    {"glm4-fp8-rows", NULL, ALL, TF, false, "global scales"},
    {"glm4-awq", NULL, ALL, TF, true, "random values"},
    {"olmoe-autoround", NULL, ALL, TF, true, "AutoRound"},
    {"olmoe-autoround", NULL, ALL, TF, false, "optimum"},
    {"glm4-awq", NULL, ALL, TF, false, "AutoRound"},
    {"qwen3-gptq", NULL, ALL, TF, true, "optimum"},
    {"qwen3-gptq", gptq_v2, ALL, TF, true, "optimum"},
    {"qwen3-gptq", NULL, ALL, TF, false, "random values"},
    {"qwen3-fp8", NULL, ALL, TF, true, "ends inside a block"},
    {"qwen3-fp8", within_blocks, ALL, TF, false, "ends inside a block"},
    {"qwen3-fp8", NULL, ALL, TF, true, "BF16 of FP8 on a CPU"},
    {"qwen3-fp8-whole", NULL, ALL, TF, false, "ends inside a block"},
    {"qwen3-fp8-whole", NULL, ALL, TF, false, "BF16 of FP8 on a CPU"},
    {"gptoss-mxfp4", mixtral, ALL, TF, true, "in GPT-OSS only"},
    {"gptoss-mxfp4", NULL, ALL, TF, false, "in GPT-OSS only"},
    {"gptoss-mxfp4", NULL, ALL, TF, true, "MXFP4 becomes BF16"},
    {"gptoss-bf16", NULL, ALL, TF, false, "MXFP4 becomes BF16"},
    {"gptoss-nvfp4", NULL, ALL, VLLM, true, "broken text"},
    {"gptoss-nvfp4", mixtral, ALL, VLLM, false, "broken text"},
    {"glm4-fp8-rows", NULL, ALL, VLLM, true, "not on a CPU"},
    {"qwen3-ct-mixed", NULL, ALL, VLLM, true, "not on a CPU"},
    {"glm4-awq", NULL, ALL, VLLM, true, "not on a CPU"},
    {"qwen3-modelopt", NULL, ALL, VLLM, true, "not on a CPU"},
    {"qwen3-gptq", NULL, ALL, VLLM, false, "not on a CPU"},
    /* groups */
    {"glm4-mtp", NULL, 5, TF, true, "no multiple of the router's groups"},
    {"glm4-mtp", NULL, 6, TF, false, "no multiple of the router's groups"},
    {"glm4-mtp", four_groups, 4, TF, true, "masked ones"},
    {"glm4-mtp", four_groups, 8, TF, false, "masked ones"},
    {"glm4-mtp", NULL, 5, VLLM, true, "no multiple of the router's groups"},
    {"glm4-mtp", many_groups, ALL, VLLM, true, "32 of them"},
    {"glm4-mtp", thirty_two_groups, ALL, VLLM, false, "32 of them"},
    {"glm4-mtp", NULL, 5, SGLANG, true, "no multiple of the router's groups"},
    {"glm4-mtp", NULL, 5, LLAMA, true, "no multiple of expert_group_count"},
    {"glm4-mtp", NULL, 6, LLAMA, false, "no multiple of expert_group_count"},
    {"glm4-mtp", four_groups, 4, LLAMA, true, "as many groups as experts"},
    {"glm4-mtp", four_groups, 8, LLAMA, false, "as many groups as experts"},
    {"glm4-mtp", all_groups, ALL, LLAMA, true, "less than expert_group_count"},
    {"glm4-mtp", NULL, ALL, LLAMA, false, "less than expert_group_count"},
    /* numbers of experts */
    {"deepseek-v3-half", deepseek_v4, 144, VLLM, true, "no router kernel"},
    {"deepseek-v3-half", deepseek_v4, 128, VLLM, false, "no router kernel"},
    {"deepseek-v3-half", NULL, 5, VLLM, false, "no router kernel"},
    {"mixtral-window", minimax_m3, 96, VLLM, true, "fast product"},
    {"mixtral-window", minimax_m3, 128, VLLM, false, "fast product"},
    {"qwen3-fp8-whole", NULL, 6, VLLM, true, "TensorRT-LLM"},
    {"qwen3-fp8-whole", NULL, 4, VLLM, false, "TensorRT-LLM"},
    {"qwen3-fp8-whole", many_experts, MANY, VLLM, true, "TensorRT-LLM"},
    {"qwen3-yarn", NULL, 6, VLLM, false, "TensorRT-LLM"},
    {"qwen3-yarn", many_experts, 20, VLLM, true, "EPLB"},
    {"qwen3-yarn", many_experts, 24, VLLM, false, "EPLB"},
    {"qwen3-yarn", many_experts, 7, VLLM, true, "tensor parallelism"},
    {"qwen3-yarn", many_experts, 8, VLLM, false, "tensor parallelism"},
    {"gptoss-mxfp4", released_width, ALL, VLLM, true, "padded to 3072"},
    {"gptoss-mxfp4", NULL, ALL, VLLM, false, "padded to 3072"},
    {"deepseek-v3-half", kimi_k2, 192, SGLANG, true, "fuses the shared expert"},
    {"deepseek-v3-half", kimi_k2, 256, SGLANG, false, "fuses the shared expert"},
    {"gptoss-mxfp4", many_experts, 6, SGLANG, true, "FlashInfer"},
    {"gptoss-mxfp4", many_experts, 12, SGLANG, false, "FlashInfer"},
    {"qwen3-yarn", many_experts, 1025, LLAMA, true, "1024 experts"},
    {"qwen3-yarn", many_experts, 1024, LLAMA, false, "1024 experts"},
    {"qwen3-yarn", many_experts, 8, LLAMA, true, "llama-quantize"},
    {"qwen3-yarn", many_experts, 16, LLAMA, false, "llama-quantize"},
    /* MTP layers, layers, and what a family is to llama.cpp */
    {"glm4-mtp", NULL, 6, VLLM, true, "no drafts"},
    {"glm4-mtp", NULL, ALL, VLLM, false, "no drafts"},
    {"glm4-mtp", six_experts, ALL, VLLM, true, "they have another one"},
    {"glm4-mtp", NULL, ALL, VLLM, false, "they have another one"},
    {"glm4-mtp", six_experts, ALL, SGLANG, true, "they have another one"},
    {"glm4-mtp", six_experts, ALL, LLAMA, true, "one expert_count"},
    {"glm4-mtp", six_experts, 4, LLAMA, false, "one expert_count"},
    {"qwen3-yarn", many_layers, ALL, LLAMA, true, "512 layers"},
    {"qwen3-yarn", layers_512, ALL, LLAMA, false, "512 layers"},
    {"llama4-split", NULL, ALL, LLAMA, true, "fewer than 4 layers"},
    {"llama4-wrapper", NULL, ALL, LLAMA, false, "fewer than 4 layers"},
    {"llama4-flat", NULL, ALL, LLAMA, true, "normalizes q and k"},
    {"llama4-flat", llama4_128, 128, LLAMA, false, "normalizes q and k"},
    {"llama4-wrapper", NULL, ALL, LLAMA, false, "normalizes q and k"},
    {"llama4-wrapper", llama4_128, 128, LLAMA, true, "normalizes q and k"},
    {"llama4-wrapper", NULL, ALL, LLAMA, true, "chunks of 8192"},
    {"llama4-wrapper", released_llama4, ALL, LLAMA, false, "chunks of 8192"},
    {"qwen3-yarn", NULL, ALL, LLAMA, true, "no dense layers"},
    {"qwen3-gptq", NULL, ALL, LLAMA, false, "no dense layers"},
    {"qwen3-yarn", another_count, ALL, LLAMA, true, "the first of num_local_experts"},
    {"qwen3-yarn", NULL, ALL, LLAMA, false, "the first of num_local_experts"},
    {"../data/gguf/glm4-mtp.gguf", nvfp4_blocks, ALL, LLAMA, true, "NaN"},
    {"../data/gguf/glm4-mtp.gguf", NULL, ALL, LLAMA, false, "NaN"},
    {"gptoss-mxfp4", NULL, ALL, LLAMA, true, "truncate false"},
    {"gptoss-bf16", NULL, ALL, LLAMA, false, "truncate false"},
    /* GGUF files are for llama.cpp and what is made of it */
    {"../data/gguf/glm4-mtp.gguf", NULL, 5, VLLM, false, "groups"},
    {"../data/gguf/glm4-mtp.gguf", NULL, 5, LLAMA, true, "expert_group_count"},
};

static void open_model(struct model *m, const char *name)
{
    const struct model_options o = {.level = MODEL_CUT};
    char path[200];

    snprintf(path, sizeof path, FIXTURES "%s", name);
    CHECK_MSG(model_open(m, path, &o, &err) == 0, "%s", err.msg);
}

static void run_case(const struct rule_case *c)
{
    const struct serving_rule *rule[SERVING_RULES], *table;
    struct serving s;
    struct model m;
    struct arch was;
    int n, rules;
    bool found = false;

    open_model(&m, c->model);
    was = m.arch;
    if (c->change)
        c->change(&m);
    CHECK_MSG(serving_open(&s, &m, &err) == 0, "%s", err.msg);
    table = serving_rule_table(&rules);
    for (n = serving_rules(&s, c->keep == ALL ? m.arch.experts : c->keep, c->server, rule); n--;)
        if (strstr(rule[n]->words, c->words))
            found = bitten[rule[n] - table] = true;
    CHECK_MSG(found == c->bites, "%s, %d experts: '%s' %s", c->model, c->keep, c->words,
              found ? "bites" : "does not bite");
    m.arch = was;
    model_close(&m);
}

/* No row is without a case above; each says all that a reader needs. */
static void check_table(void)
{
    int n, i;
    const struct serving_rule *r = serving_rule_table(&n);

    CHECK(n <= SERVING_RULES);
    for (i = 0; i < n; i++, r++) {
        CHECK_MSG(bitten[i], "no case has '%s: %s'", server_name(r->server), r->words);
        CHECK_MSG(r->words && r->source && *r->source, "row %d has no words or source", i);
    }
}

static void check_near(const char *model, void (*change)(struct model *m), int keep, int below, int above)
{
    struct serving s;
    struct model m;
    struct arch was;
    int b, a;

    open_model(&m, model);
    was = m.arch;
    if (change)
        change(&m);
    CHECK_MSG(serving_open(&s, &m, &err) == 0, "%s", err.msg);
    serving_near(&s, keep, &b, &a);
    CHECK_MSG(b == below && a == above, "%s, %d experts: %d and %d instead of %d and %d", model, keep, b, a,
              below, above);
    m.arch = was;
    model_close(&m);
}

int main(void)
{
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++)
        run_case(&cases[i]);
    check_table();
    /* of 16 experts: 6 is no multiple of 4, nor of 8 */
    check_near("../../examples/tiny-gptoss", NULL, 6, 4, 8);
    check_near("../../examples/tiny-gptoss", NULL, 9, 8, 12);
    check_near("../../examples/tiny-gptoss", NULL, 12, 8, 0);
    check_near("../../examples/tiny-gptoss", NULL, 8, 0, 0);
    check_near("glm4-mtp", NULL, 5, 4, 6); /* in two groups */
    /* refusals first: 136 would be a multiple of 8, and is refused as 145 is */
    check_near("deepseek-v3-half", deepseek_v4, 145, 128, 192);
    CHECK_END();
}
