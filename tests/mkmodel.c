/*
 * mkmodel.c -- writes a small valid checkpoint, or one that is broken in exactly one named way.
 *
 *     mkmodel [KEY=VALUE...] qwen3|gptoss|gpt-oss-20b DIR
 *
 * KEY: layers, experts, topk, hidden, inter, vocab, heads, kv_heads, head_dim, shards, first (number of the
 * first shard), sparse=1 (weights are a hole in the file: all zero, no disk space), break=NAME. Without
 * operands it lists what can be broken.
 *
 * gpt-oss-20b has the config.json keys, tensor names, shapes and dtypes of the released checkpoint, and zero
 * weights. The writer here is deliberately not the library's: a mistake shared by reader and writer would go
 * unseen. Equal arguments give equal bytes.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"

static const struct {
    const char *name, *what;
} breaks[] = {
    /* the file */
    {"empty-file", "model.safetensors has no byte"},
    {"short-file", "it has five bytes"},
    {"huge-header", "the header's length is 2^40"},
    {"truncated-header", "the file ends inside the header"},
    {"truncated-data", "the last 100 bytes are missing"},
    {"trailing-bytes", "8 bytes follow the last tensor"},
    /* the header */
    {"bad-json", "the header's last brace is missing"},
    {"bad-utf8", "a tensor's name begins with byte 0xff"},
    {"nul-in-name", "a tensor's name contains \\u0000"},
    {"header-not-object", "the header is an array"},
    {"metadata-number", "__metadata__ maps to a number"},
    {"unknown-dtype", "a dtype is called BF17"},
    {"no-offsets", "a tensor has no data_offsets"},
    {"negative-shape", "a dimension is -1"},
    {"deep-shape", "a tensor has nine dimensions"},
    {"size-overflow", "a shape's product does not fit in 64 bits"},
    {"lying-size", "data_offsets and shape disagree"},
    {"backwards", "a tensor ends before it begins"},
    {"overlap", "a tensor begins before the previous one ends"},
    {"hole", "bytes between two tensors belong to none"},
    {"duplicate-name", "a name stands twice in the header"},
    /* files and index */
    {"no-config", "there is no config.json"},
    {"no-weights", "there is no safetensors file"},
    {"missing-shard", "the index names a file that is not there"},
    {"shard-elsewhere", "the index names a file of another directory"},
    {"tensor-not-in-shard", "the index lists a tensor that its file does not have"},
    {"tensor-not-in-index", "a file has a tensor that the index does not list"},
    {"index-bad-json", "the index is cut in the middle"},
    {"tensor-in-two-shards", "a name stands in two files"},
    /* config.json */
    {"config-bad-json", "config.json is cut in the middle"},
    {"config-bad-utf8", "config.json contains byte 0xff"},
    {"unknown-family", "an architecture that nobody knows"},
    {"unknown-key", "a key that may change the arithmetic"},
    {"unknown-quantization", "a quant_method that is not read, and a tensor in it"},
    {"missing-key", "hidden_size is missing"},
    {"experts-disagree", "two spellings of the expert count disagree"},
    {"topk-over-experts", "more experts chosen than there are"},
    {"layer-types-short", "layer_types has an entry too few"},
    /* tensors against config.json */
    {"missing-expert", "an expert of layer 1 is not there"},
    {"missing-matrix", "an expert has no down_proj"},
    {"extra-expert", "an expert more than config.json says"},
    {"missing-router", "a layer has no router"},
    {"router-rows", "the router has fewer rows than there are experts"},
    {"wrong-shape", "an attention matrix is transposed"},
    {"wrong-dtype", "a norm's weights are integers"},
    {"unknown-tensor", "a layer has a tensor that nobody asked for"},
    {"unsliced-bias", "somebody else's pruner cut weights and routers but not the expert biases"},
    /* values */
    {"nan-weight", "a NaN in an expert's down_proj"},
    {"nan-router", "a NaN in a router"},
};

struct shape {
    int rank;
    uint64_t d[4];
};
struct item {
    char *name;
    const char *dtype; /* as in the header; BF16, U8 or I32 */
    struct shape shape;
    uint64_t begin, size;
    int shard;
};

static struct {
    bool oss;
    int64_t layers, experts, topk, hidden, inter, vocab, heads, kv_heads, head_dim, shards, first, sparse;
    const char *broken;
} o;
static struct item *items;
static size_t n_items, cap_items;
static const char *dir;

static _Noreturn void fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "mkmodel: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
    va_end(ap);
    exit(1);
}

/* Is this the break that was asked for? */
static bool broken(const char *name)
{
    return o.broken && !strcmp(o.broken, name);
}

static struct shape dims(int rank, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (struct shape){rank, {(uint64_t)a, (uint64_t)b, (uint64_t)c, (uint64_t)d}};
}

static struct shape vec(int64_t a)
{
    return dims(1, a, 0, 0, 0);
}

static struct shape mat(int64_t a, int64_t b)
{
    return dims(2, a, b, 0, 0);
}

static void add(const char *dtype, struct shape shape, const char *fmt, ...)
{
    char name[200];
    struct item *t;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    if (mem_grow(&items, &cap_items, n_items + 1, sizeof *items, NULL))
        fail("out of memory");
    t = &items[n_items++];
    *t = (struct item){.name = mem_strdup(name, NULL), .dtype = dtype, .shape = shape};
    t->size = !strcmp(dtype, "BF16") ? 2 : !strcmp(dtype, "I32") ? 4 : 1;
    for (int i = 0; i < shape.rank; i++)
        t->size *= shape.d[i];
}

/* ---- which tensors ---- */

static void add_attention(int l)
{
    int64_t q = o.heads * o.head_dim, kv = o.kv_heads * o.head_dim;
    bool turn = broken("wrong-shape") && l == 1;
    const char *norm = broken("wrong-dtype") && l == 1 ? "I32" : "BF16";
    char p[64];

    snprintf(p, sizeof p, "model.layers.%d.self_attn", l);
    add(norm, vec(o.hidden), "model.layers.%d.input_layernorm.weight", l);
    add("BF16", turn ? mat(o.hidden, q * 2) : mat(q, o.hidden), "%s.q_proj.weight", p);
    add("BF16", mat(kv, o.hidden), "%s.k_proj.weight", p);
    add("BF16", mat(kv, o.hidden), "%s.v_proj.weight", p);
    add("BF16", mat(o.hidden, q), "%s.o_proj.weight", p);
    if (o.oss) {
        add("BF16", vec(q), "%s.q_proj.bias", p);
        add("BF16", vec(kv), "%s.k_proj.bias", p);
        add("BF16", vec(kv), "%s.v_proj.bias", p);
        add("BF16", vec(o.hidden), "%s.o_proj.bias", p);
        add("BF16", vec(o.heads), "%s.sinks", p);
    } else {
        add("BF16", vec(o.head_dim), "%s.q_norm.weight", p);
        add("BF16", vec(o.head_dim), "%s.k_norm.weight", p);
    }
    add("BF16", vec(o.hidden), "model.layers.%d.post_attention_layernorm.weight", l);
}

static void add_router(int l, const char *name)
{
    bool here = l == 1;
    int64_t rows = broken("router-rows") && here ? o.experts - 1 : o.experts;

    if (broken("missing-router") && here)
        return;
    add("BF16", mat(rows, o.hidden), "model.layers.%d.mlp.%s.weight", l, name);
    if (o.oss)
        add("BF16", vec(rows), "model.layers.%d.mlp.router.bias", l);
}

static void add_split_experts(int l)
{
    int64_t n = o.experts + (broken("extra-expert") && l == 1);

    for (int64_t j = 0; j < n; j++) {
        bool here = l == 1 && j == 1;
        char p[64];

        snprintf(p, sizeof p, "model.layers.%d.mlp.experts.%d", l, (int)j);
        if (here && broken("missing-expert"))
            continue;
        add("BF16", mat(o.inter, o.hidden), "%s.gate_proj.weight", p);
        add("BF16", mat(o.inter, o.hidden), "%s.up_proj.weight", p);
        if (!(here && broken("missing-matrix")))
            add("BF16", mat(o.hidden, o.inter), "%s.down_proj.%s", p,
                here && broken("unknown-quantization") ? "qweight" : "weight");
    }
}

static void add_mxfp4_experts(int l)
{
    int64_t e = o.experts, h = o.hidden, i = o.inter;
    int64_t uncut = broken("unsliced-bias") ? e + 4 : e;
    char p[64];

    snprintf(p, sizeof p, "model.layers.%d.mlp.experts", l);
    add("U8", dims(4, e, 2 * i, h / 32, 16), "%s.gate_up_proj_blocks", p);
    add("U8", dims(3, e, 2 * i, h / 32, 0), "%s.gate_up_proj_scales", p);
    add("BF16", mat(uncut, 2 * i), "%s.gate_up_proj_bias", p);
    if (broken("missing-matrix") && l == 1)
        return;
    add("U8", dims(4, e, h, i / 32, 16), "%s.down_proj_blocks", p);
    add("U8", dims(3, e, h, i / 32, 0), "%s.down_proj_scales", p);
    add("BF16", mat(uncut, h), "%s.down_proj_bias", p);
}

static void add_all(void)
{
    add("BF16", mat(o.vocab, o.hidden), "model.embed_tokens.weight");
    for (int l = 0; l < o.layers; l++) {
        add_attention(l);
        add_router(l, o.oss ? "router" : "gate");
        if (o.oss)
            add_mxfp4_experts(l);
        else
            add_split_experts(l);
        if (broken("unknown-tensor") && l == 1)
            add("BF16", vec(o.hidden), "model.layers.1.mlp.frobnicator.weight");
    }
    add("BF16", vec(o.hidden), "model.norm.weight");
    add("BF16", mat(o.vocab, o.hidden), "lm_head.weight");
}

/* Equal shares of the bytes, in order; offsets count from the start of each shard's data. */
static void place(void)
{
    uint64_t total = 0, before = 0, at = 0;
    int shard = 0;

    for (size_t i = 0; i < n_items; i++)
        total += items[i].size;
    for (size_t i = 0; i < n_items; i++) {
        int s = (int)(before / (total / (uint64_t)o.shards + 1));

        if (s != shard)
            at = 0;
        shard = items[i].shard = s;
        items[i].begin = at;
        at += items[i].size;
        before += items[i].size;
    }
}

/* ---- one safetensors file ---- */

static void add_shape(struct str *s, const struct item *t, bool here)
{
    struct shape shape = t->shape;

    if (here && broken("negative-shape")) {
        str_adds(s, "[-1,2]");
    } else if (here && broken("deep-shape")) {
        str_addf(s, "[1,1,1,1,1,1,1,1,%llu]", (unsigned long long)t->size / 2);
    } else if (here && broken("size-overflow")) {
        str_adds(s, "[4294967296,4294967296,4294967296]");
    } else {
        if (here && broken("lying-size"))
            shape.d[0]++;
        for (int i = 0; i < shape.rank; i++)
            str_addf(s, "%c%llu", i ? ',' : '[', (unsigned long long)shape.d[i]);
        str_addc(s, ']');
    }
}

/* The third tensor of the first shard (nth == 2) is the one that header breaks hit: it has a neighbour on
 * each side. A hole or an overlap moves all that follows, so that nothing else is wrong. */
static void add_entry(struct str *s, const struct item *t, size_t nth)
{
    bool here = nth == 2;
    uint64_t shift = nth < 2 ? 0 : broken("hole") ? 2 : broken("overlap") ? (uint64_t)-2 : 0;
    uint64_t begin = t->begin + shift, end = begin + t->size;
    const char *name = t->name;

    if (here && broken("duplicate-name"))
        name = t[-1].name;
    if (here && broken("backwards"))
        end = begin - 2;
    str_addf(s, "\"%s%s%s\":{\"dtype\":\"%s\",\"shape\":", here && broken("bad-utf8") ? "\xff" : "", name,
             here && broken("nul-in-name") ? "\\u0000" : "",
             here && broken("unknown-dtype") ? "BF17" : t->dtype);
    add_shape(s, t, here);
    if (!(here && broken("no-offsets")))
        str_addf(s, ",\"data_offsets\":[%llu,%llu]", (unsigned long long)begin, (unsigned long long)end);
    str_addc(s, '}');
}

static void add_header(struct str *s, int shard)
{
    size_t nth = 0;

    str_addf(s, "{\"__metadata__\":{\"format\":%s}", broken("metadata-number") ? "1" : "\"pt\"");
    for (size_t i = 0; i < n_items; i++)
        if (items[i].shard == shard) {
            str_addc(s, ',');
            add_entry(s, &items[i], shard == 0 ? nth++ : 0);
        }
    if (shard == 1 && broken("tensor-in-two-shards")) {
        str_addc(s, ',');
        str_addf(s, "\"%s\":{\"dtype\":\"BF16\",\"shape\":[0],\"data_offsets\":[0,0]}", items[0].name);
    }
    if (!broken("bad-json"))
        str_addc(s, '}');
    if (broken("header-not-object")) {
        str_clear(s);
        str_adds(s, "[1,2,3]");
    }
    while (s->n % 8)
        str_addc(s, ' ');
}

static uint32_t rng = 2463534242u;
static uint32_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 17;
    rng ^= rng << 5;
    return rng;
}

/* Small weights of both signs; norms around 1; scales 2^-7. */
static void write_values(FILE *f, const struct item *t)
{
    bool norm = strstr(t->name, "norm") != NULL, scale = strstr(t->name, "_scales") != NULL;
    bool nan = (broken("nan-weight") && strstr(t->name, "layers.1.mlp.experts.1.down_proj.weight")) ||
               (broken("nan-router") && strstr(t->name, "layers.1.mlp.gate.weight"));

    if (!strcmp(t->dtype, "U8")) {
        for (uint64_t i = 0; i < t->size; i++)
            fputc(scale ? 120 : (int)(next_random() >> 24), f);
        return;
    }
    for (uint64_t i = 0; i < t->size / 2; i++) {
        uint32_t r = next_random() >> 8;
        uint32_t v = nan && i == 5 ? 0x7fc0 : norm ? 0x3f80 : (r & 0x8000) | (0x3c80 + (r & 0xff));

        fputc((int)(v & 0xff), f);
        fputc((int)(v >> 8), f);
    }
}

static FILE *create(const char *name)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f)
        fail("cannot create '%s'", path);
    return f;
}

static void finish(FILE *f)
{
    if (fflush(f) || ferror(f) || fclose(f))
        fail("cannot write into '%s'", dir);
}

static void cut(FILE *f, uint64_t size)
{
    if (fflush(f) || ftruncate(fileno(f), (off_t)size))
        fail("cannot set a file's size in '%s'", dir);
}

static void write_shard(const char *name, int shard)
{
    struct str head = {0};
    uint64_t data = 0, n;
    FILE *f = create(name);

    add_header(&head, shard);
    if (str_ok(&head, NULL))
        fail("out of memory");
    n = broken("huge-header") ? UINT64_C(1) << 40 : head.n;
    for (int i = 0; i < 8; i++)
        fputc((int)(n >> (8 * i) & 0xff), f);
    fwrite(head.p, 1, head.n, f);
    for (size_t i = 0; i < n_items; i++) {
        if (items[i].shard != shard)
            continue;
        data += items[i].size;
        if (!o.sparse)
            write_values(f, &items[i]);
    }
    if (o.sparse)
        cut(f, 8 + head.n + data);
    if (shard == 0 && broken("hole"))
        fputs("..", f);
    if (shard == 0 && broken("overlap"))
        cut(f, 8 + head.n + data - 2);
    if (broken("trailing-bytes"))
        fputs("trailing", f);
    if (broken("truncated-data"))
        cut(f, 8 + head.n + data - 100);
    if (broken("truncated-header"))
        cut(f, 8 + head.n / 2);
    if (broken("short-file"))
        cut(f, 5);
    if (broken("empty-file"))
        cut(f, 0);
    finish(f);
    str_free(&head);
}

/* ---- the directory ---- */

static void shard_name(char out[64], int shard)
{
    if (o.shards == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05d-of-%05d.safetensors", (int)(o.first + shard),
                 (int)(o.first + o.shards - 1));
}

static void write_index(void)
{
    FILE *f = create("model.safetensors.index.json");
    uint64_t total = 0;
    char name[64];

    for (size_t i = 0; i < n_items; i++)
        total += items[i].size;
    fprintf(f, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
            (unsigned long long)total);
    if (broken("tensor-not-in-shard"))
        fprintf(f, "\n    \"model.layers.0.ghost.weight\": \"model-%05d-of-%05d.safetensors\",", (int)o.first,
                (int)(o.first + o.shards - 1));
    for (size_t i = broken("tensor-not-in-index"); i < n_items; i++) {
        shard_name(name, items[i].shard);
        fprintf(f, "%s\n    \"%s\": \"%s%s\"", i > (size_t)broken("tensor-not-in-index") ? "," : "",
                items[i].name, broken("shard-elsewhere") ? "../other/" : "", name);
        if (broken("index-bad-json") && i == 3)
            break;
    }
    if (!broken("index-bad-json"))
        fputs("\n  }\n}\n", f);
    finish(f);
}

static void write_weights(void)
{
    char name[64], path[4096];

    if (broken("no-weights"))
        return;
    for (int s = 0; s < o.shards; s++) {
        shard_name(name, s);
        write_shard(name, s);
    }
    if (o.shards > 1)
        write_index();
    if (broken("missing-shard")) {
        snprintf(path, sizeof path, "%s/%s", dir, name);
        if (unlink(path))
            fail("cannot remove '%s'", path);
    }
}

static void config_oss(FILE *f)
{
    fprintf(f, "  \"layer_types\": [");
    for (int64_t l = broken("layer-types-short"); l < o.layers; l++)
        fprintf(f, "\n    \"%s_attention\"%s", l % 2 ? "full" : "sliding", l + 1 < o.layers ? "," : "");
    fprintf(
        f,
        "\n  ],\n  \"attention_bias\": true,\n  \"experts_per_token\": %lld,\n"
        "  \"initial_context_length\": 4096,\n  \"intermediate_size\": %lld,\n"
        "  \"num_local_experts\": %lld,\n  \"rope_scaling\": {\n    \"beta_fast\": 32.0,\n"
        "    \"beta_slow\": 1.0,\n    \"factor\": 32.0,\n    \"original_max_position_embeddings\": 4096,\n"
        "    \"rope_type\": \"yarn\",\n    \"truncate\": false\n  },\n  \"rope_theta\": 150000,\n"
        "  \"sliding_window\": 128,\n  \"swiglu_limit\": 7.0,\n  \"rms_norm_eps\": 1e-05,\n"
        "  \"quantization_config\": {\n    \"modules_to_not_convert\": [\n"
        "      \"model.layers.*.self_attn\",\n      \"model.layers.*.mlp.router\",\n"
        "      \"model.embed_tokens\",\n      \"lm_head\"\n    ],\n    \"quant_method\": \"mxfp4\"\n  },\n",
        (long long)o.topk, (long long)o.inter, (long long)o.experts);
}

static void config_qwen3(FILE *f)
{
    fprintf(f,
            "  \"attention_bias\": false,\n  \"decoder_sparse_step\": 1,\n  \"intermediate_size\": %lld,\n"
            "  \"mlp_only_layers\": [],\n  \"moe_intermediate_size\": %lld,\n  \"norm_topk_prob\": true,\n"
            "  \"num_experts\": %lld,\n  \"rope_scaling\": null,\n  \"rope_theta\": 1000000.0,\n"
            "  \"rms_norm_eps\": 1e-06,\n  \"sliding_window\": null,\n  \"use_sliding_window\": false,\n",
            (long long)o.inter * 3, (long long)o.inter, (long long)o.experts);
    if (broken("experts-disagree"))
        fprintf(f, "  \"num_local_experts\": %lld,\n", (long long)o.experts + 1);
}

static void write_config(void)
{
    bool foo = broken("unknown-family");
    FILE *f;

    if (broken("no-config"))
        return;
    f = create("config.json");
    fprintf(f, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n  \"model_type\": \"%s\",\n",
            foo     ? "FrobMoeForCausalLM"
            : o.oss ? "GptOssForCausalLM"
                    : "Qwen3MoeForCausalLM",
            foo     ? "frob_moe"
            : o.oss ? "gpt_oss"
                    : "qwen3_moe");
    if (o.oss)
        config_oss(f);
    else
        config_qwen3(f);
    if (!broken("missing-key"))
        fprintf(f, "  \"hidden_size\": %lld,\n", (long long)o.hidden);
    if (broken("unknown-key"))
        fprintf(f, "  \"router_temperature\": 0.5,\n");
    if (broken("unknown-quantization"))
        fprintf(f, "  \"quantization_config\": {\n    \"quant_method\": \"frob4\"\n  },\n");
    if (broken("config-bad-utf8"))
        fprintf(f, "  \"comment\": \"\xff\",\n");
    fprintf(f,
            "  \"attention_dropout\": 0.0,\n  \"head_dim\": %lld,\n  \"hidden_act\": \"silu\",\n"
            "  \"initializer_range\": 0.02,\n  \"max_position_embeddings\": 131072,\n"
            "  \"num_attention_heads\": %lld,\n  \"num_experts_per_tok\": %lld,\n"
            "  \"num_hidden_layers\": %lld,\n  \"num_key_value_heads\": %lld,\n"
            "  \"output_router_logits\": false,\n  \"tie_word_embeddings\": false,\n"
            "  \"use_cache\": true,\n  \"vocab_size\": %lld%s",
            (long long)o.head_dim, (long long)o.heads,
            (long long)(broken("topk-over-experts") ? o.experts + 1 : o.topk), (long long)o.layers,
            (long long)o.kv_heads, (long long)o.vocab, broken("config-bad-json") ? "" : "\n}\n");
    finish(f);
}

/* ---- command line ---- */

static void set_family(const char *name)
{
    o.layers = 2, o.experts = 4, o.topk = 2, o.hidden = 64, o.inter = 32, o.vocab = 256;
    o.heads = 4, o.kv_heads = 2, o.head_dim = 16, o.shards = 1, o.first = 1;
    if (!strcmp(name, "gptoss")) {
        o.oss = true;
    } else if (!strcmp(name, "gpt-oss-20b")) {
        o.oss = true, o.sparse = true;
        o.layers = 24, o.experts = 32, o.topk = 4, o.hidden = 2880, o.inter = 2880, o.vocab = 201088;
        o.heads = 64, o.kv_heads = 8, o.head_dim = 64, o.shards = 3, o.first = 0;
    } else if (strcmp(name, "qwen3") != 0) {
        fail("the families are qwen3, gptoss and gpt-oss-20b, not '%s'", name);
    }
}

static void set(const char *arg)
{
    const struct {
        const char *key;
        int64_t *dst;
    } keys[] = {
        {"layers=", &o.layers}, {"experts=", &o.experts},   {"topk=", &o.topk},
        {"hidden=", &o.hidden}, {"inter=", &o.inter},       {"vocab=", &o.vocab},
        {"heads=", &o.heads},   {"kv_heads=", &o.kv_heads}, {"head_dim=", &o.head_dim},
        {"shards=", &o.shards}, {"first=", &o.first},       {"sparse=", &o.sparse},
    };
    struct err e = {0};
    size_t i;

    if (!strncmp(arg, "break=", 6)) {
        for (i = 0; i < sizeof breaks / sizeof *breaks && strcmp(breaks[i].name, arg + 6) != 0; i++)
            ;
        if (i == sizeof breaks / sizeof *breaks)
            fail("nothing is called '%s'", arg);
        o.broken = breaks[i].name;
        return;
    }
    for (i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strncmp(arg, keys[i].key, strlen(keys[i].key))) {
            if (num_i64(arg + strlen(keys[i].key), arg, 0, 1000000, keys[i].dst, &e))
                fail("%s", e.msg);
            return;
        }
    fail("'%s' is not understood", arg);
}

int main(int argc, char **argv)
{
    if (argc == 1) {
        for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++)
            printf("%-22s%s\n", breaks[i].name, breaks[i].what);
        return 0;
    }
    if (argc < 3)
        fail("usage: mkmodel [KEY=VALUE...] FAMILY DIR");
    dir = argv[argc - 1];
    set_family(argv[argc - 2]);
    for (int i = 1; i < argc - 2; i++)
        set(argv[i]);
    if (mkdir(dir, 0777))
        fail("cannot create '%s'", dir);
    add_all();
    place();
    write_weights();
    write_config();
    for (size_t i = 0; i < n_items; i++)
        free(items[i].name);
    free(items);
    return 0;
}
