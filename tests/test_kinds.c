/*
 * test_kinds.c -- tokenizers that are in other files than tokenizer.json, and tokens that other files add.
 */
#include "tokenizing.h"

#include <sys/stat.h>

#define MARK "\xe2\x96\x81"

/* The ids are those of transformers 5.23. */
static void test_config_tokens(void)
{
    static const char decoder[] = "\"added_tokens_decoder\":{\"30\":{\"content\":\"<x>\",\"lstrip\":true},"
                                  "\"20\":{\"content\":\"<y>\"}}";
    static const char pad_object[] =
        "{\"pad_token\":{\"__type\":\"AddedToken\",\"content\":\"<x>\",\"lstrip\":true}}";
    const struct {
        const char *config, *map, *added, *ids;
    } cases[] = {
        {"{}", NULL, NULL, "0 9 10 12 11 9 1"},
        {"{\"extra_special_tokens\":[\"<x>\"]}", NULL, NULL, "0 9 13 9 1"},
        {"{\"extra_special_tokens\":{\"image_token\":\"<x>\"}}", NULL, NULL, "0 9 13 9 1"},
        {"{\"extra_special_tokens\":[],\"additional_special_tokens\":[\"<x>\"]}", NULL, NULL, "0 9 13 9 1"},
        {"{\"pad_token\":\"<x>\"}", NULL, NULL, "0 9 13 9 1"},
        {pad_object, NULL, NULL, "0 13 9 1"},
        {"{\"image_token\":\"<x>\"}", NULL, NULL, "0 9 13 9 1"},
        {"{\"pad_token\":\"b\",\"bos_token\":\"<x>\",\"extra_special_tokens\":[\"<1>\"]}", NULL, NULL,
         "0 9 13 9 1"},
        {"{\"extra_special_tokens\":[\"<x>\"],\"image_token\":\"<1>\",\"pad_token\":\"<2>\",\"bos_token\":\"<"
         "3>\"}",
         NULL, NULL, "0 9 16 9 1"},
        {NULL, "{\"pad_token\":\"<x>\"}", NULL, "0 9 13 9 1"},
        {"{\"pad_token\":\"<y>\"}", "{\"pad_token\":{\"content\":\"<x>\",\"lstrip\":true,\"rstrip\":true}}",
         NULL, "0 13 1"},
        {"{}", "{\"additional_special_tokens\":[\"<x>\"]}", NULL, "0 9 13 9 1"},
        {"{\"added_tokens_decoder\":{}}", "{\"pad_token\":\"<x>\"}", "{\"<x>\":13}", "0 9 10 12 11 9 1"},
        {"{}", NULL, "{\"<x>\":30,\"<y>\":20}", "0 9 14 9 1"},
        {"{\"pad_token\":\"<x>\"}", NULL, "{\"<x>\":13}", "0 9 13 9 1"},
        {decoder, NULL, NULL, "0 14 9 1"},
    };
    struct tokenizer *t;
    char config[300];
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].config) {
            snprintf(config, sizeof config, *cases[i].config == '{' ? "%s" : "{%s}", cases[i].config);
            put_tmp("tokenizer_config.json", config);
        }
        if (cases[i].map)
            put_tmp("special_tokens_map.json", cases[i].map);
        if (cases[i].added)
            put_tmp("added_tokens.json", cases[i].added);
        t = open_text("{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":"
                      "7,\"i\":8,\" \":9,"
                      "\"<\":10,\">\":11,\"x\":12},\"merges\":[]}}");
        CHECK_MSG(strcmp(encode(t, "a <x> b", false), cases[i].ids) == 0, "case %zu: %s", i,
                  encode(t, "a <x> b", false));
        tokenizer_close(t);
        unlink(in_tmp("tokenizer_config.json"));
        unlink(in_tmp("special_tokens_map.json"));
        unlink(in_tmp("added_tokens.json"));
    }
    put_tmp("added_tokens.json", "[]");
    {
        struct err e = {0};

        CHECK(open_folder(&t, tmp_dir, &e) == -1 && strstr(e.msg, "added_tokens.json: is not an object"));
    }
    unlink(in_tmp("added_tokens.json"));
}

/* A tokenizer of one kind of file in the folder, and the ids of texts; last: the one with text NULL. */
struct text_ids {
    const char *text, *ids;
};

static void check_kind(const struct text_ids *x)
{
    struct tokenizer *t;
    struct err e = {0};

    CHECK_MSG(open_folder(&t, tmp_dir, &e) == 0, "%s", e.msg);
    for (; t && x->text; x++)
        CHECK_MSG(strcmp(encode(t, x->text, true), x->ids) == 0, "'%s': %s", x->text,
                  encode(t, x->text, true));
    tokenizer_close(t);
}

static void refused_kind(const char *why)
{
    struct tokenizer *t;
    struct err e = {0};

    CHECK_MSG(open_folder(&t, tmp_dir, &e) == -1 && strstr(e.msg, why), "'%s' does not say '%s'", e.msg, why);
}

static const char lines[] =
    "YQ== 0\nYg== 1\nYw== 2\nIA== 3\nJw== 4\ncw== 5\nMQ== 6\n5A== 7\nuA== 8\nrQ== 9\nYmM= 10\nYWI= 11\n"
    "YWJj 12\nIGE= 13\n5Lg= 14\nuK0= 15\nJ3M= 16\nYWE= 17\nMTE= 18\n";

/* The ids are tiktoken's, with Kimi's pattern. */
static void test_tiktoken(void)
{
    static const char config[] =
        "{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{"
        "\"19\":{\"content\":\"[BOS]\"},\"21\":{\"content\":\"<|im_end|>\",\"lstrip\":true}}}";
    static const struct text_ids ids[] = {{"abc", "12"},
                                          {"abcbc abc", "12 10 3 12"},
                                          {"aaa", "17 0"},
                                          {"a\xe4\xb8\xad"
                                           "b's",
                                           "0 14 9 1 16"},
                                          {"1111", "18 6 6"},
                                          {"a<|im_end|>b<|reserved_token_22|>", "0 21 1 22"},
                                          {"[BOS] a", "19 13"},
                                          {"x", "failed"},
                                          {NULL, NULL}};

    unlink(in_tmp("tokenizer.json"));
    put_tmp("tiktoken.model", lines);
    put_tmp("tokenizer_config.json", config);
    check_kind(ids);
    put_tmp("tiktoken.model", "YQ== 0\nYg=! 1\n");
    refused_kind("line 2 is not a token");
    put_tmp("tiktoken.model", "YQ== 0\nYg==\n");
    refused_kind("line 2 is not a token");
    put_tmp("tiktoken.model", "YQ== -1\n");
    refused_kind("impossible rank");
    put_tmp("tiktoken.model", "");
    refused_kind("tiktoken.model: is empty");
    put_tmp("tiktoken.model", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n");
    refused_kind("Git LFS pointer");
    put_tmp("tiktoken.model", lines);
    put_tmp("tokenizer_config.json", "{\"tokenizer_class\":\"OtherTokenizer\"}");
    refused_kind("'OtherTokenizer'");
    unlink(in_tmp("tiktoken.model"));
    unlink(in_tmp("tokenizer_config.json"));
    refused_kind(
        "has no tokenizer (tokenizer.json, tiktoken.model, vocab.json with merges.txt, or tokenizer.model)");
}

/* The last id of n times unit, then tail. */
static int32_t last_id(const char *unit, int n, const char *tail)
{
    struct tokenizer *t = NULL;
    struct str text = {0};
    struct ids ids = {0};
    struct err e = {0};
    int32_t id = -1;

    while (n--)
        str_adds(&text, unit);
    str_adds(&text, tail);
    CHECK_MSG(open_folder(&t, tmp_dir, &e) == 0 && tokenizer_encode(t, text.p, text.n, true, &ids, &e) == 0,
              "%s", e.msg);
    if (ids.n)
        id = ids.id[ids.n - 1];
    ids_free(&ids);
    str_free(&text);
    tokenizer_close(t);
    return id;
}

/* Where Kimi's Python cuts: bc is one token, but not across a cut. */
static void test_cuts(void)
{
    put_tmp("tiktoken.model", lines);
    put_tmp("tokenizer_config.json", "{\"tokenizer_class\":\"TikTokenTokenizer\"}");
    CHECK(last_id("a", 24998, "bc") == 12);
    CHECK(last_id("a", 24999, "bc") == 2);
    CHECK(last_id("a", 24999, " bc") == 10); /* a run ends at white space */
    CHECK(last_id("a ", 199999, "bc") == 10);
    CHECK(last_id("a ", 199999, "abc") == 2);
    unlink(in_tmp("tiktoken.model"));
    unlink(in_tmp("tokenizer_config.json"));
}

/* The same as a tokenizer.json, but for one place in it, which becomes another text. */
static void put_json(const char *dir, const char *place, const char *other)
{
    static const char head[] =
        "{\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"\\u0120\":"
        "3,"
        "\"'\":4,\"s\":5,\"1\":6,\"\\u00e4\":7,\"\\u00b8\":8,\"\\u0143\":9,\"bc\":10,\"ab\":11,\"abc\":12,"
        "\"\\u0120a\":13,\"\\u00e4\\u00b8\":14,\"\\u00b8\\u0143\":15,\"'s\":16,\"aa\":17,\"11\":18},"
        "\"merges\":["
        "\"b c\",\"a b\",\"a bc\",\"ab c\",\"\\u0120 a\",\"\\u00e4 \\u00b8\",\"\\u00b8 \\u0143\",\"' s\",\"a "
        "a\","
        "\"1 1\"]},\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
        "\"Split\",\"invert\":false,\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"[\\\\p{Han}]+|"
        "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}&&[^\\\\p{Han}]]*"
        "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}&&[^\\\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}&&[^\\\\p{Han}]]+"
        "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}&&[^\\\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        "\\\\p{N}{1,3}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]},"
        "\"post_processor\":{\"type\":\"ByteLevel\"},\"added_tokens\":[";
    const char *at = place ? strstr(head, place) : NULL;
    struct str out = {0};
    char name[100];
    int id;

    CHECK(!place || at);
    if (at)
        str_addf(&out, "%.*s%s%s", (int)(at - head), head, other, at + strlen(place));
    else
        str_adds(&out, head);
    for (id = 19; id < 19 + 256; id++) {
        snprintf(name, sizeof name, "<|reserved_token_%d|>", id);
        str_addf(&out, "%s{\"id\":%d,\"special\":true,\"normalized\":false,\"content\":\"%s\"}",
                 id > 19 ? "," : "", id,
                 id == 19   ? "[BOS]"
                 : id == 21 ? "<|im_end|>"
                            : name);
    }
    str_adds(&out, "]}");
    snprintf(name, sizeof name, "%s/tokenizer.json", dir);
    put_tmp(name, out.p);
    str_free(&out);
}

static void check_same(const char *a, const char *b, int want)
{
    const char *of_a = in_tmp(a);
    struct err e = {0};
    int same;

    same = tokenizer_same(of_a, in_tmp(b), &e);
    CHECK_MSG(same == want, "%s, %s: %d, not %d: %s", a, b, same, want, e.msg);
}

/* Tokenizers are what they do, and not in which files. */
static void test_same(void)
{
    static const char *const changes[][2] = {{"\"b c\",\"a b\"", "\"a b\",\"b c\""},
                                             {"\"aa\":17,\"11\":18", "\"aa\":18,\"11\":17"},
                                             {"{1,3}", "{1,2}"},
                                             {"\"' s\",", ""},
                                             {"\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}"}};
    size_t i;

    CHECK(mkdir(in_tmp("ranks"), 0777) == 0 && mkdir(in_tmp("json"), 0777) == 0 &&
          mkdir(in_tmp("other"), 0777) == 0);
    put_tmp("ranks/tiktoken.model", lines);
    put_tmp("ranks/tokenizer_config.json",
            "{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{"
            "\"19\":{\"content\":\"[BOS]\"},\"21\":{\"content\":\"<|im_end|>\"}}}");
    put_json("json", NULL, NULL);
    check_same("ranks", "json", 1);
    check_same("json", "ranks", 1);
    for (i = 0; i < sizeof changes / sizeof *changes; i++) {
        put_json("other", changes[i][0], changes[i][1]);
        check_same("ranks", "other", 0);
        check_same("json", "other", 0);
    }
    /* Within a token the order of its two merges counts among rules, and is not seen in ranks. */
    put_json("other", "\"a bc\",\"ab c\"", "\"ab c\",\"a bc\"");
    check_same("json", "other", 0);
    check_same("ranks", "other", 1);
    unlink(in_tmp("other/tokenizer.json"));
    put_tmp("other/tiktoken.model", lines);
    put_tmp("other/tokenizer_config.json",
            "{\"tokenizer_class\":\"TikTokenTokenizer\",\"added_tokens_decoder\":{}}");
    check_same("ranks", "other", 0);
    check_same("ranks", "ranks", 1);
}

static void test_vocab_files(void)
{
    static const char vocab[] =
        "{\"a\":0,\"b\":1,\"\\u0120\":2,\"ab\":3,\"\\u0120ab\":4,\"1\":5,\"11\":6,\"<e>\":7}";
    static const struct text_ids qwen[] = {{"ab ab11", "3 4 5 5"}, {"a<f>", "0 8"}, {NULL, NULL}},
                                 gpt2[] = {{"ab ab11", "3 4 6"}, {NULL, NULL}};

    put_tmp("vocab.json", vocab);
    put_tmp("merges.txt", "#version: 0.2\na b\n\xc4\xa0 ab\r\n1 1\n");
    put_tmp("tokenizer_config.json", "{\"tokenizer_class\":\"Qwen2TokenizerFast\",\"eos_token\":\"<f>\"}");
    check_kind(&qwen[0]);
    put_tmp("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\"}");
    check_kind(gpt2);
    put_tmp("merges.txt", "a b\nab\n");
    refused_kind("merges.txt: line 2 is not two tokens");
    put_tmp("tokenizer_config.json", "{}");
    refused_kind("for the tokenizer_class Qwen2Tokenizer or GPT2Tokenizer");
    put_tmp("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\"}");
    unlink(in_tmp("merges.txt"));
    refused_kind("merges.txt");
    unlink(in_tmp("vocab.json"));
    unlink(in_tmp("tokenizer_config.json"));
}

/* A model of sentencepiece: messages of protobuf, shorter than 128 bytes each. */
static void put_piece(struct str *out, const char *text, float score, int type)
{
    size_t n = strlen(text);

    str_addf(out, "\n%c\n%c%s\x15", (char)(n + 9), (char)n, text);
    str_add(out, &score, 4);
    str_addf(out, "\x18%c", (char)type);
}

static void put_spm(bool fallback, bool prefix, int type, const char *normalizer)
{
    static const char *const words[] = {MARK "a", "ab", "aa", "aaa", MARK, "a", "b", "c", "\xc3\xa9"};
    struct str out = {0};
    char name[8];
    FILE *f;
    int i;

    put_piece(&out, "<unk>", 0, 2);
    put_piece(&out, "<s>", 0, 3);
    put_piece(&out, "</s>", 0, 3);
    for (i = 0; i < 9; i++)
        put_piece(&out, words[i], (float)(-1 - i), 1);
    put_piece(&out, "<u>", 0, 4);
    for (i = 0; i < 256 && fallback; i++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        put_piece(&out, name, 0, 6);
    }
    str_addf(&out, "\x12\5\x18%c\x98\2", (char)type); /* trainer_spec: model_type, byte_fallback */
    str_add(&out, fallback ? "\1" : "\0", 1);
    str_addf(&out, "\x1a%c\x18", (char)(4 + strlen(normalizer))); /* normalizer_spec */
    str_add(&out, prefix ? "\1" : "\0", 1);
    str_add(&out, "\x20\0", 2);
    str_adds(&out, normalizer);
    f = fopen(in_tmp("tokenizer.model"), "wb");
    CHECK(f && fwrite(out.p, 1, out.n, f) == out.n && fclose(f) == 0);
    str_free(&out);
}

/* The ids are sentencepiece's; but for the last of each, that it has no control symbols in text. */
static void test_spm(void)
{
    static const struct text_ids plain[] = {{"a ab", "3 3 9"},
                                            {"aaaa", "3 6"},
                                            {"baaaab", "7 9 6 4"},
                                            {"baaa", "7 9 6"},
                                            {"xyb x\xc3\xa9", "7 0 9 7 0 11"},
                                            {" <u>a<u> b", "7 7 12 8 12 7 9"},
                                            {"", ""},
                                            {"</s>a", "2 3"},
                                            {NULL, NULL}},
                                 bytes[] = {
                                     {"a ab", "8 3 9"}, {"xb", "133 9"}, {"<s>a", "1 8"}, {NULL, NULL}};

    put_spm(false, true, 2, "");
    check_kind(plain);
    put_spm(true, false, 2, "");
    check_kind(bytes);
    put_tmp("tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":\"<s>\"}");
    check_kind((const struct text_ids[]){{"xb", "1 133 9"}, {NULL, NULL}});
    unlink(in_tmp("tokenizer_config.json"));
    put_spm(false, true, 1, "");
    refused_kind("type unigram");
    put_spm(false, true, 2, "\x12\1x");
    refused_kind("maps characters");
    put_spm(false, true, 2, "\x20\1");
    refused_kind("removes extra white space");
    put_spm(false, true, 2, "\x12\5x");
    refused_kind("normalizer_spec is damaged");
    put_tmp("tokenizer.model", "some text");
    refused_kind("is not a model of sentencepiece");
    unlink(in_tmp("tokenizer.model"));
}

int main(void)
{
    tmp_open();
    test_config_tokens();
    test_tiktoken();
    test_cuts();
    test_same();
    test_vocab_files();
    test_spm();
    CHECK_END();
}
