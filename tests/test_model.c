/*
 * test_model.c -- config.json to struct arch: spellings, defaults, absent against null, refusals by name;
 * rope against the check values of the formulae; safetensors written and read back.
 */
#include "base/json.h"
#include "check.h"
#include "model/model.h"
#include "tmp.h"

#define QWEN(more)                                                                                           \
    "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 4, "         \
    "\"vocab_size\": 96, "                                                                                   \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"moe_intermediate_size\": 32, "                \
    "\"intermediate_size\": 48, "                                                                            \
    "\"num_experts_per_tok\": 2" more "}"
#define OSS(more)                                                                                            \
    "{\"model_type\": \"gpt_oss\", \"hidden_size\": 64, \"num_hidden_layers\": 3, \"vocab_size\": 96, "      \
    "\"num_attention_heads\": 16, \"intermediate_size\": 32, \"num_local_experts\": 8, "                     \
    "\"num_experts_per_tok\": 2" more "}"

static int read_arch(struct arch *a, const char *text, const char *ignore, struct err *e)
{
    const char *const keys[] = {ignore, NULL};
    struct arch_options o = {keys};
    cJSON *config;
    int r;

    CHECK(json_parse(text, strlen(text), "config.json", &config, e) == 0);
    r = arch_read(a, config, "config.json", &o, e);
    cJSON_Delete(config);
    return r;
}

static void good(struct arch *a, const char *text)
{
    struct err e = {0};

    read_arch(a, text, NULL, &e);
    CHECK_MSG(!e.kind, "refused: %s", e.msg);
}

static void bad(const char *text, const char *expect)
{
    struct err e = {0};
    struct arch a;

    CHECK_MSG(read_arch(&a, text, NULL, &e) == -1, "accepted: %s", text);
    CHECK_MSG(strstr(e.msg, expect) != NULL, "'%s' does not say '%s'", e.msg, expect);
}

static void test_qwen3(void)
{
    struct err e = {0};
    struct arch a;

    good(&a, QWEN(", \"num_experts\": 8"));
    CHECK(a.experts == 8 && a.layer->attn.head_dim == 16 && !a.renorm && !a.layer->attn.bias_qkv &&
          a.moe_layers == 4 && !a.tied);
    CHECK(a.layer[0].attn.mask == MASK_FULL && a.rope->type == ROPE_DEFAULT && a.rope->theta == 10000);
    arch_free(&a);
    good(&a, QWEN(", \"num_local_experts\": 8, \"num_experts\": 8, \"norm_topk_prob\": true, "
                  "\"attention_bias\": true, "
                  "\"use_sliding_window\": true, \"sliding_window\": 5, \"mlp_only_layers\": [1], "
                  "\"decoder_sparse_step\": 1"));
    CHECK(a.renorm && a.layer->attn.bias_qkv && a.layer->attn.bias_o && a.moe_layers == 3 &&
          a.layer[1].ffn == FFN_DENSE);
    CHECK(a.layer[3].attn.mask == MASK_SLIDING && a.layer[3].attn.window == 5 && a.dense_inter == 48);
    arch_free(&a);
    good(&a, QWEN(", \"num_experts\": 8, \"decoder_sparse_step\": 2, \"sliding_window\": 4096"));
    CHECK(a.moe_layers == 2 && a.layer[0].ffn == FFN_DENSE && a.layer[1].ffn == FFN_MOE);
    CHECK(a.layer[0].attn.mask == MASK_FULL); /* a window without use_sliding_window is none */
    arch_free(&a);
    bad(QWEN(", \"num_experts\": 8, \"num_local_experts\": 6"), "num_local_experts is 6");
    bad(QWEN(""), "no num");
    bad(QWEN(", \"num_experts\": 8, \"head_dim\": 16777216"), "heads of 16777216 make no sense");
    bad(QWEN(", \"num_experts\": 1"), "2 experts per token of 1");
    bad(QWEN(", \"num_experts\": 8, \"logit_softcapping\": 30.0"), "logit_softcapping");
    bad(QWEN(", \"num_experts\": 8, \"hidden_act\": \"gelu\""), "gelu");
    bad(QWEN(", \"num_experts\": 8.5"), "num_experts");
    bad(QWEN(", \"num_experts\": 8, \"num_experts\": 16"), "twice");
    good(&a, QWEN(", \"num_experts\": 8, \"quantization_config\": {\"quant_method\": \"gptq\"}"));
    CHECK(strstr(a.unread, "the quantization 'gptq' with bits missing is not read"));
    arch_free(&a);
    bad(QWEN(", \"num_experts\": 8, \"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 4.0}"),
        "longrope");
    bad(QWEN(", \"num_experts\": 8, \"rope_scaling\": {\"rope_type\": \"linear\"}"), "factor");
    bad("{\"architectures\": [\"BertModel\"]}", "BertModel");
    bad("[]", "not a JSON object");
    read_arch(&a, QWEN(", \"num_experts\": 8, \"vendor_note\": \"x\""), "vendor_note", &e);
    CHECK_MSG(!e.kind, "an ignored key was refused: %s", e.msg);
    arch_free(&a);
    good(&a, QWEN(", \"num_experts\": 8, \"some_switch\": false, \"other\": null")); /* switched off */
    arch_free(&a);
}

static void test_gpt_oss(void)
{
    struct arch a;

    good(&a, OSS(""));
    CHECK(a.layer->attn.head_dim == 64 && a.layer->attn.kv_heads == 8 && a.layer->attn.bias_qkv &&
          a.act_limit == 7);
    CHECK(a.layer[0].attn.mask == MASK_SLIDING && a.layer[0].attn.window == 128 &&
          a.layer[1].attn.mask == MASK_FULL);
    CHECK(a.rope->type == ROPE_YARN); /* absent rope: the class default */
    CHECK_NEAR(a.rope->scaling, 1.3465736, 1e-7, 0);
    arch_free(&a);
    good(&a, OSS(", \"layer_types\": [\"full_attention\", \"sliding_attention\", \"full_attention\"], "
                 "\"sliding_window\": 4"));
    CHECK(a.layer[0].attn.mask == MASK_FULL && a.layer[1].attn.window == 4);
    arch_free(&a);
    good(&a, OSS(", \"sliding_window\": null, \"head_dim\": null"));
    CHECK(a.layer[0].attn.mask == MASK_FULL && a.layer->attn.head_dim == 4);
    arch_free(&a);
    bad(OSS(", \"layer_types\": [\"full_attention\"]"), "layer_types");
    bad(OSS(", \"experts_per_token\": 3"), "experts_per_token");
}

/* Check values of the formulae (theta 150000, factor 32, original 4096; Qwen3 with yarn 4; Scout's llama3).
 */
static void test_rope(void)
{
    struct arch a;

    good(&a, OSS(", \"rope_theta\": 150000, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 32.0, "
                 "\"beta_fast\": 32.0, "
                 "\"beta_slow\": 1.0, \"original_max_position_embeddings\": 4096, \"truncate\": false}"));
    CHECK(a.rope->rot == 64);
    CHECK_NEAR(a.rope->inv_freq[0], 1, 0, 1e-6);
    CHECK_NEAR(a.rope->inv_freq[8], .050813275, 0, 1e-5);
    CHECK_NEAR(a.rope->inv_freq[9], .031705696, 0, 1e-5);
    CHECK_NEAR(a.rope->inv_freq[17], 1.293187e-4, 0, 1e-5);
    CHECK_NEAR(a.rope->inv_freq[31], 3.0235114e-7, 0, 1e-5);
    arch_free(&a);
    good(&a, QWEN(", \"num_experts\": 8, \"head_dim\": 128, \"rope_theta\": 1000000.0, \"rope_scaling\": "
                  "{\"type\": \"yarn\", "
                  "\"factor\": 4.0, \"original_max_position_embeddings\": 32768}"));
    CHECK_NEAR(a.rope->inv_freq[20], .013335214, 0, 1e-5);
    CHECK_NEAR(a.rope->inv_freq[24], .0053753215, 0, 1e-5);
    CHECK_NEAR(a.rope->inv_freq[46], 1.2174188e-5, 0, 1e-5);
    CHECK_NEAR(a.rope->scaling, 1.1386294, 1e-6, 0);
    arch_free(&a);
    good(&a, QWEN(", \"num_experts\": 8, \"head_dim\": 128, \"rope_parameters\": {\"rope_type\": \"llama3\", "
                  "\"rope_theta\": 500000, "
                  "\"factor\": 16.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 1.0, "
                  "\"original_max_position_embeddings\": 8192}"));
    CHECK_NEAR(a.rope->inv_freq[34], 9.3847387e-4, 0, 1e-5);
    CHECK_NEAR(a.rope->inv_freq[35], 4.7781062e-5, 0, 1e-5);
    arch_free(&a);
}

static void test_safetensors(void)
{
    struct tensor t[2] = {{.name = "b\"q", .dtype = DT_F32, .rank = 2, .shape = {2, 3}},
                          {.name = "a", .dtype = DT_U8, .rank = 1, .shape = {5}}};
    static const char *const key[] = {"format"}, *const value[] = {"pt"};
    char data[29] = "abcdefghijklmnopqrstuvwxyz12", back[5];
    const char *path = in_tmp("st");
    const struct tensor *found;
    struct err e = {0};
    struct st_writer w;
    struct st_file f;

    CHECK(st_create(&w, path, true, t, 2, key, value, 1, &e) == 0);
    CHECK(st_put(&w, data, 28, &e) == 0);
    CHECK(st_finish(&w, &e) == -1); /* one byte is missing */
    st_writer_close(&w);
    err_clear(&e);
    CHECK(st_create(&w, path, true, t, 2, key, value, 1, &e) == 0);
    CHECK(st_put(&w, data, 29, &e) == 0 && st_finish(&w, &e) == 0);
    st_writer_close(&w);
    CHECK(st_open(&f, path, &e) == 0);
    CHECK_STR(e.msg, "");
    CHECK(f.n == 2 && f.n_meta == 1 && f.header_bytes % 8 == 0);
    found = st_find(&f, "a");
    CHECK(found && found->size == 5 && st_read(&f, found, 0, back, 5, &e) == 0 &&
          memcmp(back, data + 24, 5) == 0);
    CHECK(st_find(&f, "b\"q") && st_find(&f, "b\"q")->shape[1] == 3 && !st_find(&f, "c"));
    st_close(&f);
}

int main(void)
{
    tmp_open();
    test_qwen3();
    test_gpt_oss();
    test_rope();
    test_safetensors();
    CHECK_END();
}
