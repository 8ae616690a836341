/*
 * serving_rules.c -- the rules about servers, a row each: one more is a row, or a row and a condition. A row
 * says what was seen or read in that release; nothing in it is guessed. Those about one number of experts for
 * all layers, dense numbering and lengths of biases are not here: no model that is opened, and none that is
 * written, breaks them.
 */
#include "surgery/serving.h"

#include <string.h>

#include "model/container.h"

/* ---- conditions ---- */

static bool is_cut(const struct serving *s, int keep)
{
    return keep < s->m->arch.experts;
}

static bool no_multiple(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)s;
    return keep % r->number != 0;
}

static bool fewer(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)s;
    return keep < r->number;
}

static bool more(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)s;
    return keep > r->number;
}

static bool becomes(const struct serving *s, int keep, const struct serving_rule *r)
{
    return is_cut(s, keep) && keep == r->number;
}

static bool not_among(const struct serving *s, int keep, const struct serving_rule *r)
{
    const int *n = r->numbers;

    (void)s;
    while (*n && *n != keep)
        n++;
    return !*n;
}

static bool shared_not_among(const struct serving *s, int keep, const struct serving_rule *r)
{
    return s->m->arch.shared_inter && not_among(s, keep, r);
}

/* numbers: hidden size and experts, in pairs. */
static bool leaves_pairs(const struct serving *s, int keep, const struct serving_rule *r)
{
    const int *n = r->numbers;

    while (*n && (n[0] != s->m->arch.hidden || n[1] != s->m->arch.experts))
        n += 2;
    return *n && is_cut(s, keep);
}

static bool groups_uneven(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)r;
    return keep % s->m->arch.groups != 0;
}

static bool groups_short(const struct serving *s, int keep, const struct serving_rule *r)
{
    const struct arch *a = &s->m->arch;

    (void)r;
    return a->groups > 1 && keep % a->groups == 0 && keep >= a->topk &&
           keep / a->groups * a->topk_group < a->topk;
}

static bool groups_or_topk_above(const struct serving *s, int keep, const struct serving_rule *r)
{
    const struct arch *a = &s->m->arch;

    (void)keep;
    return a->groups > 1 && (a->groups > r->number || a->topk > r->number);
}

static bool groups_of_one(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)r;
    return s->m->arch.groups > 1 && s->m->arch.groups >= keep;
}

static bool groups_all_used(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep, (void)r;
    return s->m->arch.groups > 1 && s->m->arch.topk_group >= s->m->arch.groups;
}

static bool more_layers(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep;
    return s->m->arch.layers + s->m->arch.mtp_layers > r->number;
}

static bool fewer_layers(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep;
    return s->m->arch.layers < r->number;
}

/* A dense layer. */
static bool some_dense(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep, (void)r;
    return s->m->ckpt.container->folder && s->m->arch.moe_layers < s->m->arch.layers;
}

/* moe-prune drops these layers with the first expert that goes. */
static bool mtp_differs(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)r;
    return !is_cut(s, keep) && s->mtp_experts && s->mtp_experts != keep;
}

static bool mtp_goes(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)r;
    return is_cut(s, keep) && s->mtp_experts;
}

static bool count_stale(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep, (void)r;
    return s->stale;
}

static bool autoround(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep, (void)r;
    return s->autoround;
}

static bool not_autoround(const struct serving *s, int keep, const struct serving_rule *r)
{
    return !autoround(s, keep, r);
}

static bool zero_points(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep, (void)r;
    return s->zeros;
}

static bool cut_tiles(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep, (void)r;
    return s->cut_tiles;
}

static bool nvfp4_blocks(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep, (void)r;
    return s->nvfp4;
}

static bool by_blocks(const struct serving *s, int keep, const struct serving_rule *r)
{
    const struct arch *a = &s->m->arch;
    int i;

    (void)keep;
    for (i = 0; i < a->claims; i++)
        if (s->used[i] && a->claim[i].block.out > 1 && strcmp(a->claim[i].format->title, r->format) == 0)
            return true;
    return false;
}

static bool not_by_blocks(const struct serving *s, int keep, const struct serving_rule *r)
{
    return !by_blocks(s, keep, r);
}

static bool other_family(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep, (void)r;
    return strcmp(s->m->arch.family->name, "gpt_oss") != 0;
}

static bool width_is(const struct serving *s, int keep, const struct serving_rule *r)
{
    (void)keep;
    return s->m->arch.inter == r->number;
}

static bool fp8_experts(const struct serving *s, int keep, const struct serving_rule *r)
{
    return model_expert_format(s->m)->coding == CODING_E4M3 && (keep % 4 || keep > r->number);
}

/* The first layer that attends by chunks or without rope, whose numbers are others than llama.cpp's. */
static bool llama4_numbers(const struct serving *s, int keep, const struct serving_rule *r)
{
    int i;

    (void)keep;
    for (i = 0; i < s->m->arch.layers; i++) {
        const struct attention_arch *t = &s->m->arch.layer[i].attn;

        if ((t->mask == MASK_CHUNKED && t->window != r->number) ||
            (t->rope < 0 && (t->temp_floor != r->number || t->temp_scale != 0.1)))
            return true;
    }
    return false;
}

/* llama.cpp has no norm of q and k exactly where there are so many experts. */
static bool llama4_norm(const struct serving *s, int keep, const struct serving_rule *r)
{
    return (s->m->arch.layer[0].attn.qk_norm != QKN_NONE) == (keep == r->number);
}

static bool untruncated(const struct serving *s, int keep, const struct serving_rule *r)
{
    int i;

    (void)keep, (void)r;
    for (i = 0; i < s->m->arch.ropes; i++)
        if (s->m->arch.rope[i].type == ROPE_YARN && !s->m->arch.rope[i].truncate)
            return true;
    return false;
}

/* ---- the table ---- */

#define TF        .release = "5.23.0"
#define VLLM      .release = "0.33.0"
#define SGLANG    .release = "0.5.23"
#define LLAMA     .release = "b11434"
#define LLAMA_RUN .release = "b11549", .source = "seen"
#define SEEN      .source = "seen"

static const int sglang_fused[] = {256, 384, 0};
static const int router_products[] = {6144, 128, 3072, 256, 0};
/* of a kernel that only DeepSeek-V4's router has */
static const int deepseek_v4_counts[] = {1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512, 576, 0};

/* clang-format off */
static const struct serving_rule rules[] = {
    /* ---- transformers ---- */
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "FP8 (ModelOpt)", TF, SEEN,
     .words = "does not know ModelOpt: it loads the weights without their scales, and says nothing"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "NVFP4 (ModelOpt)", TF, SEEN,
     .words = "does not know ModelOpt: it stops at the shapes of the weights"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "MXFP8 (ModelOpt)", TF,
     .words = "does not know ModelOpt: it takes no notice of the scales", .source = "quantizers/auto.py"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "MXFP4 (ModelOpt)", TF,
     .words = "does not know ModelOpt: it takes no notice of the scales", .source = "quantizers/auto.py"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "NVFP4 (compressed-tensors)", TF, SEEN,
     .words = "drops the experts' global scales, and says nothing: weights thousands of times too large"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "INT8 (compressed-tensors)", TF, SEEN,
     .words = "stops where it joins the experts' tensors, or reads them wrongly"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "MXFP8 (compressed-tensors)", TF, SEEN,
     .words = "stops where it joins the experts' tensors, or reads them wrongly"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "FP8 (compressed-tensors)", .when = by_blocks, TF, SEEN,
     .words = "stops where it joins the experts' tensors, if FP8 has scales of blocks"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "packed integers (compressed-tensors)", .when = zero_points,
     TF, SEEN, .words = "stops where it joins the experts' tensors, if packed integers have zero points"},
    {SERVER_TRANSFORMERS, SERVING_FINE, .format = "FP8 (compressed-tensors)", .when = not_by_blocks, TF, SEEN,
     .words = "rounds activations too; not with CompressedTensorsConfig(dequantize=True)"},
    {SERVER_TRANSFORMERS, SERVING_FINE, .format = "MXFP4 (compressed-tensors)", TF, SEEN,
     .words = "rounds activations too; not with CompressedTensorsConfig(dequantize=True)"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "AWQ", .when = not_autoround, TF, SEEN,
     .words = "leaves the experts at random values, and says nothing"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .when = autoround, TF, SEEN,
     .words = "fails on AutoRound's own formats"},
    {SERVER_TRANSFORMERS, SERVING_FINE, .format = "GPTQ", .when = not_autoround, TF, SEEN,
     .words = "wants the package optimum"},
    {SERVER_TRANSFORMERS, SERVING_FINE, .format = "GPTQ (v2)", .when = not_autoround, TF, SEEN,
     .words = "wants the package optimum"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "FP8 with scales of blocks", .when = cut_tiles, TF, .source = "integrations/finegrained_fp8.py",
     .words = "on a CPU, or dequantizing, takes the size of blocks from rows / scales: a matrix that ends inside a block "
              "is read wrongly without a word, or stops it"},
    {SERVER_TRANSFORMERS, SERVING_SLOWER, .format = "FP8 with scales of blocks", TF, SEEN,
     .words = "makes BF16 of FP8 on a CPU: twice the memory"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .format = "MXFP4 (GPT-OSS)", .when = other_family, TF,
     .words = "knows these tensors in GPT-OSS only", .source = "integrations/mxfp4.py"},
    {SERVER_TRANSFORMERS, SERVING_SLOWER, .format = "MXFP4 (GPT-OSS)", TF,
     .words = "without a GPU, triton and the package kernels MXFP4 becomes BF16 without a word: 3.8 times the memory",
     .source = "quantizer_mxfp4.py, issue 47923"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .when = groups_uneven, .release = "5.17.0",
     .words = "the number is no multiple of the router's groups", .source = "modeling_deepseek_v3.py"},
    {SERVER_TRANSFORMERS, SERVING_REFUSES, .when = groups_short, .release = "5.17.0",
     .words = "the groups of a token hold too few experts: it takes masked ones, and says nothing",
     .source = "modeling_deepseek_v3.py"},

    /* ---- vLLM ---- */
    {SERVER_VLLM, SERVING_REFUSES, .when = groups_uneven, VLLM,
     .words = "the number is no multiple of the router's groups", .source = "issue 29439"},
    {SERVER_VLLM, SERVING_REFUSES, .when = groups_or_topk_above, .number = 32, VLLM,
     .words = "routers with groups have 32 of them and 32 experts a token at most", .source = "grouped top-k"},
    {SERVER_VLLM, SERVING_REFUSES, .family = "deepseek_v4", .when = not_among, .numbers = deepseek_v4_counts, VLLM,
     .words = "no router kernel has this number of experts: 1 to 128 by powers of two, and multiples of 64 up to "
              "576", .source = "issues 51521, 50982"},
    {SERVER_VLLM, SERVING_REFUSES, .when = mtp_differs, VLLM,
     .words = "builds the MTP layers with the number of experts of the others: they have another one",
     .source = "the models' MTP classes"},
    {SERVER_VLLM, SERVING_REFUSES, .family = "gpt_oss", .format = "NVFP4 (ModelOpt)",
     .words = "GPT-OSS in NVFP4 gives broken text", .source = "issue 46641"},
    {SERVER_VLLM, SERVING_SLOWER, .when = mtp_goes, VLLM,
     .words = "MTP layers go with the first expert: no drafts from them", .source = "the models' MTP classes"},
    {SERVER_VLLM, SERVING_SLOWER, .when = leaves_pairs, .numbers = router_products, VLLM,
     .words = "the fast product of the router is for the unpruned number", .source = "router products"},
    {SERVER_VLLM, SERVING_SLOWER, .when = fp8_experts, .number = 512, VLLM,
     .words = "TensorRT-LLM's FP8 experts want a multiple of 4, at most 512", .source = "TRT-LLM FP8 experts"},
    {SERVER_VLLM, SERVING_SLOWER, .when = no_multiple, .number = 8, VLLM,
     .words = "no expert parallelism with EPLB over 8 devices, which must divide the number",
     .source = "EPLB, issue 52435"},
    {SERVER_VLLM, SERVING_SLOWER, .when = fewer, .number = 8, VLLM,
     .words = "no tensor parallelism over 8 devices, which are more than there are experts",
     .source = "models of Qwen3, ERNIE, MiniMax"},
    {SERVER_VLLM, SERVING_SLOWER, .family = "gpt_oss", .format = "MXFP4 (GPT-OSS)", .when = width_is, .number = 2880,
     .words = "ends itself with expert parallelism: 2880 is padded to 3072", .source = "issue 52051"},
    {SERVER_VLLM, SERVING_FINE, .format = "FP8 (compressed-tensors)", .release = "0.32.0", SEEN,
     .words = "not on a CPU"},
    {SERVER_VLLM, SERVING_FINE, .format = "NVFP4 (compressed-tensors)", .release = "0.32.0", SEEN,
     .words = "not on a CPU"},
    {SERVER_VLLM, SERVING_FINE, .format = "MXFP4 (compressed-tensors)", .release = "0.32.0", SEEN,
     .words = "not on a CPU"},
    {SERVER_VLLM, SERVING_FINE, .format = "AWQ", .release = "0.32.0", SEEN, .words = "not on a CPU"},
    {SERVER_VLLM, SERVING_FINE, .format = "FP8 (ModelOpt)", .release = "0.32.0", SEEN, .words = "not on a CPU"},
    {SERVER_VLLM, SERVING_FINE, .format = "NVFP4 (ModelOpt)", .release = "0.32.0", SEEN, .words = "not on a CPU"},

    /* ---- SGLang ---- */
    {SERVER_SGLANG, SERVING_REFUSES, .when = groups_uneven, SGLANG,
     .words = "the number is no multiple of the router's groups", .source = "DeepSeek's router"},
    {SERVER_SGLANG, SERVING_REFUSES, .when = mtp_differs, SGLANG,
     .words = "builds the MTP layers with the number of experts of the others: they have another one",
     .source = "the models' MTP classes"},
    {SERVER_SGLANG, SERVING_SLOWER, .family = "deepseek_v3", .when = shared_not_among, .numbers = sglang_fused,
     SGLANG, .words = "fuses the shared expert with the others only where there are 256 or 384",
     .source = "DeepSeek-V3's class"},
    {SERVER_SGLANG, SERVING_SLOWER, .format = "MXFP4 (GPT-OSS)", .when = no_multiple, .number = 4,
     .words = "FlashInfer's MXFP4 experts want a multiple of 4", .source = "cuda-norm, modal/gpt_oss_pruning_track.py"},

    /* ---- llama.cpp ---- */
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .when = more, .number = 1024, LLAMA,
     .words = "1024 experts in a layer at most", .source = "src/llama-hparams.h"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .when = more_layers, .number = 512, LLAMA,
     .words = "512 layers at most", .source = "src/llama-hparams.h"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .when = groups_uneven, LLAMA_RUN,
     .words = "ends itself: the number is no multiple of expert_group_count"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .when = groups_of_one, LLAMA_RUN,
     .words = "ends itself where there are as many groups as experts"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .when = groups_all_used, LLAMA_RUN,
     .words = "ends itself where all groups are used: expert_group_used_count must be less than "
              "expert_group_count"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .family = "llama4", .when = fewer_layers, .number = 4, LLAMA_RUN,
     .words = "ends itself on fewer than 4 layers, none of which attends to everything"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .family = "llama4", .when = llama4_norm, .number = 128, LLAMA,
     .words = "normalizes q and k unless there are 128 experts, whatever the model does",
     .source = "src/models/"},
    {SERVER_LLAMA_CPP, SERVING_FINE, .family = "llama4", .when = llama4_numbers, .number = 8192, LLAMA,
     .words = "chunks of 8192 and temperatures from 8192 on, by 0.1, whatever the model has",
     .source = "src/models/"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .family = "qwen3_moe", .when = some_dense, LLAMA, SEEN,
     .words = "knows no dense layers in Qwen3-MoE: its converter refuses them"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .when = mtp_differs, LLAMA,
     .words = "has one expert_count: the MTP layers have another number of experts", .source = "src/llama-model.cpp"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .when = count_stale, LLAMA,
     .words = "its converter takes the first of num_local_experts, num_experts, n_routed_experts: they differ",
     .source = "base.py"},
    {SERVER_LLAMA_CPP, SERVING_REFUSES, .gguf = true, .family = "glm4_moe", .when = nvfp4_blocks, LLAMA_RUN,
     .words = "GLM-4.5 in NVFP4 gives NaN"},
    {SERVER_LLAMA_CPP, SERVING_FINE, .family = "gpt_oss", .when = untruncated, LLAMA_RUN,
     .words = "takes no notice of YaRN's truncate false: logits are a little others"},
    {SERVER_LLAMA_CPP, SERVING_FINE, .when = becomes, .number = 8, LLAMA,
     .words = "llama-quantize has another mix of types for 8 experts: other sizes than those of the whole model, cut",
     .source = "the quantizer's source"},
};
/* clang-format on */

const struct serving_rule *serving_rule_table(int *n)
{
    *n = sizeof rules / sizeof *rules;
    return rules;
}
