/* tokenizer_rules.c -- the table of rules by name. */
#include "text/tokenizer_rules.h"

#include <string.h>

/* Parts of patterns: contractions, what may begin a word, letters that can begin one and that can follow,
 * with and without those of Chinese; signs, and spaces. */
#define CONTRACTED "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LEAD       "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER      "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define UPPER_HAN  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define LOWER_HAN  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define SIGNS      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define SPACES     "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#define GPT2   "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define QWEN2  CONTRACTED "|" LEAD "\\p{L}+|\\p{N}" SIGNS SPACES
#define QWEN35 CONTRACTED "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACES
#define CL100K CONTRACTED "|" LEAD "\\p{L}+|\\p{N}{1,3}" SIGNS SPACES
#define O200K                                                                                                \
    LEAD UPPER "*" LOWER "+" CONTRACTED "?|" LEAD UPPER "+" LOWER "*" CONTRACTED                             \
               "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES
#define TEKKEN                                                                                               \
    LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES
#define KIMI                                                                                                 \
    "[\\p{Han}]+|" LEAD UPPER_HAN "*" LOWER_HAN "+" CONTRACTED "?|" LEAD UPPER_HAN "+" LOWER_HAN             \
    "*" CONTRACTED "?|\\p{N}{1,3}" SIGNS SPACES
#define BAILING "'(?i:[sdmt]|ll|ve|re)|" LEAD "\\p{L}+|\\p{N}" SIGNS "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"
#define SEED    CONTRACTED "|" LEAD "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" SPACES
#define DEEPSEEK_WORDS                                                                                       \
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-"              \
    "\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"               \
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd"            \
    "\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"            \
    "\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-"             \
    "\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4"             \
    "\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d"               \
    "\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"              \
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e"             \
    "\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f"                 \
    "\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"                   \
    "\U000118a0-\U000118df\U0001e900-\U0001e943]+"
#define DEEPSEEK_MARKS "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
#define DEEPSEEK_HAN   "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
#define DEEPSEEK_V3                                                                                          \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"       \
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"

/* Sources: tokenizer.json, or the Python, of models that have each; what llama.cpp makes of the same name is
 * near it, but has neither normalizers nor, of GPT-4o's, ignore_merges. */
static const struct tokenizer_rules table[] = {
    {.name = {"qwen2", "deepseek-r1-qwen"}, .split = {QWEN2}, .nfc = true},
    {.name = {"qwen35"}, .split = {QWEN35}, .nfc = true},
    {.name = {"gpt-4o", "llama4"}, .split = {O200K}, .ignore_merges = true},
    {.name = {"minimax-m2"}, .split = {O200K}},
    {.name = {"llama3", "llama-v3", "llama-bpe", "lfm2", "falcon3", "falcon-h1"},
     .split = {CL100K},
     .ignore_merges = true,
     .begins = true},
    {.name = {"glm4", "chatglm-bpe", "dbrx", "smaug-bpe"}, .split = {CL100K}},
    {.name = {"deepseek-v3", "hunyuan-dense", "joyai-llm"},
     .split = {"\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK_V3}},
    {.name = {"deepseek-llm"},
     .split = {"[\r\n]", DEEPSEEK_WORDS, DEEPSEEK_MARKS, "\\s+$", DEEPSEEK_HAN, "\\p{N}"}},
    {.name = {"deepseek-coder"}, .split = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_HAN, "\\p{N}"}},
    {.name = {"kimi-k2"}, .split = {KIMI}, .ranks = true},
    {.name = {"olmo"}, .split = {GPT2}, .nfc = true},
    {.name = {"gpt-2", "phi-2", "exaone4", "gigachat", "granite-docling"}, .split = {GPT2}},
    {.name = {"starcoder", "refact", "smollm", "exaone"}, .split = {"\\p{N}", GPT2}},
    {.name = {"bailingmoe", "bailingmoe2", "llada-moe"}, .split = {BAILING}},
    {.name = {"seed-coder"}, .split = {SEED}},
    {.name = {"tekken"}, .split = {TEKKEN}, .ignore_merges = true, .begins = true},
    {.name = {"default"}, .split = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

const struct tokenizer_rules *tokenizer_rules(const char *name, size_t n)
{
    size_t i;
    int k;

    for (i = 0; i < sizeof table / sizeof *table; i++)
        for (k = 0; k < RULE_NAMES && table[i].name[k]; k++)
            if (strlen(table[i].name[k]) == n && memcmp(table[i].name[k], name, n) == 0)
                return &table[i];
    return NULL;
}

cJSON *tokenizer_rules_splitter(const struct tokenizer_rules *r)
{
    cJSON *all = cJSON_CreateObject(), *list, *item;
    int i;

    cJSON_AddStringToObject(all, "type", "Sequence");
    list = cJSON_AddArrayToObject(all, "pretokenizers");
    for (i = 0; i < RULE_SPLITS && r->split[i]; i++) {
        cJSON_AddItemToArray(list, item = cJSON_CreateObject());
        cJSON_AddStringToObject(item, "type", "Split");
        cJSON_AddStringToObject(item, "behavior", "Isolated");
        cJSON_AddStringToObject(cJSON_AddObjectToObject(item, "pattern"), "Regex", r->split[i]);
    }
    cJSON_AddItemToArray(list, item = cJSON_CreateObject());
    cJSON_AddStringToObject(item, "type", "ByteLevel");
    cJSON_AddBoolToObject(item, "use_regex", false);
    return all;
}

cJSON *tokenizer_rules_normalizer(const struct tokenizer_rules *r)
{
    return r->nfc ? cJSON_Parse("{\"type\":\"NFC\"}") : NULL;
}
