/* test_words.c -- words in lib/base: JSON that is written, strings to numbers, which word was meant. */
#include "base/hash.h"
#include "base/json.h"
#include "base/json_out.h"
#include "base/map.h"
#include "base/num.h"
#include "base/words.h"
#include "check.h"

/* One of everything. */
static void write_all(struct json_out *j)
{
    int i;

    jo_open(j, NULL, '{');
    jo_string(j, "name", "a \"b\"");
    jo_null(j, "none");
    jo_open(j, "rows", '[');
    for (i = 0; i < 2; i++) {
        jo_open(j, NULL, '{');
        jo_int(j, "i", i);
        jo_open(j, "list", '[');
        jo_bool(j, NULL, true);
        jo_double(j, NULL, 0.1);
        jo_close(j);
        jo_close(j);
    }
    jo_close(j);
    jo_open(j, "empty", '[');
    jo_close(j);
    jo_open(j, "in", '{');
    jo_uint(j, "most", UINT64_MAX);
    jo_close(j);
    jo_close(j);
}

static void test_layouts(void)
{
    struct json_out compact = {0}, pretty = {.pretty = true, .base = 1};

    write_all(&compact);
    CHECK_STR(compact.s.p, "{\"name\":\"a \\\"b\\\"\",\"none\":null,\"rows\":[\n"
                           "{\"i\":0,\"list\":[true,0.1]},\n"
                           "{\"i\":1,\"list\":[true,0.1]}\n"
                           "],\"empty\":[],\"in\":{\"most\":18446744073709551615}}");
    write_all(&pretty);
    CHECK(strstr(pretty.s.p, "{\n    \"name\": \"a \\\"b\\\"\",\n    \"none\": null,\n    \"rows\": [\n"
                             "      {\n        \"i\": 0,\n") == pretty.s.p);
    CHECK(strstr(pretty.s.p,
                 "\n    ],\n    \"empty\": [],\n    \"in\": {\n      \"most\": 18446744073709551615\n"
                 "    }\n  }") != NULL);
    str_free(&compact.s);
    str_free(&pretty.s);
}

static void quotes_as(const char *text, size_t n, const char *expect)
{
    struct str s = {0};

    json_quote(&s, text, n);
    CHECK_STR(s.p, expect);
    str_free(&s);
}

static void test_escapes(void)
{
    quotes_as("", 0, "\"\"");
    quotes_as("a\n\t\r\\\"\x01\x1f\x7f\0z", 11, "\"a\\n\\t\\r\\\\\\\"\\u0001\\u001f\x7f\\u0000z\"");
    quotes_as("\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    /* each byte that is not UTF-8: a lone one, the end of a character that was cut off, a surrogate */
    quotes_as("a\xff"
              "b\xc3",
              4,
              "\"a\xef\xbf\xbd"
              "b\xef\xbf\xbd\"");
    quotes_as("\xed\xa0\x80\n", 4, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\n\"");
}

/* Every number reads back as the same double; what is none is null. */
static void test_doubles(void)
{
    static const double v[] = {0, -0.0, 1, 0.1, 1.0 / 3, 1e300, -5e-324, 123456789, 2.5e-7, 0x1p53};
    struct json_out j = {0};
    char buf[32];
    size_t i;

    for (i = 0; i < sizeof v / sizeof *v; i++)
        CHECK_MSG(strtod(num_shortest(v[i], buf), NULL) == v[i], "%.17g as %s", v[i], buf);
    CHECK_STR(num_shortest(0.1, buf), "0.1");
    jo_open(&j, NULL, '[');
    jo_double(&j, NULL, NAN);
    jo_double(&j, NULL, -INFINITY);
    jo_printf(&j, NULL, "%.3f", 0.5);
    jo_close(&j);
    CHECK_STR(j.s.p, "[null,null,0.500]");
    str_free(&j.s);
}

static void test_map(void)
{
    struct err e = {0};
    struct map m = {0};
    char key[16];
    int i, wrong = 0;

    CHECK(map_find(&m, "x", 1) == -1);
    for (i = 0; i < 5000; i++)
        wrong += map_set(&m, key, (size_t)snprintf(key, sizeof key, "key %d", i), i, &e) != 0;
    for (i = 0; i < 5000; i++) {
        wrong += map_find(&m, key, (size_t)snprintf(key, sizeof key, "key %d", i)) != i;
        wrong += strcmp(map_key(&m, (size_t)i), key) != 0;
    }
    CHECK(wrong == 0 && m.n == 5000);
    CHECK(map_find(&m, "key 1", 4) == -1 && map_find(&m, "", 0) == -1);
    CHECK(map_set(&m, "a\0b", 3, 7, &e) == 0 && map_find(&m, "a\0b", 3) == 7 && map_find(&m, "a", 1) == -1);
    CHECK(map_set(&m, "key 17", 6, 1, &e) == 0 && map_find(&m, "key 17", 6) == 1 && m.n == 5001);
    map_free(&m);
}

/* What is meant by a word, or "-". */
static const char *meant(const char *typed)
{
    static const char *const words[] = {"perplexity", "compare", "refine", "repair",
                                        "speed",      "max-len", "max-kl"};
    struct nearest x = {.typed = typed};
    size_t i;

    for (i = 0; i < sizeof words / sizeof *words; i++)
        nearest_try(&x, words[i]);
    return x.word ? x.word : "-";
}

static void test_nearest(void)
{
    CHECK_STR(meant("perplexty"), "perplexity");
    CHECK_STR(meant("preplexity"), "perplexity");
    CHECK_STR(meant("comapre"), "compare");
    CHECK_STR(meant("refnie"), "refine");
    CHECK_STR(meant("max-length"), "max-len");
    CHECK_STR(meant("max_kl"), "max-kl");
    CHECK_STR(meant("COMPARE"), "compare");
    CHECK_STR(meant("prune"), "-");
    CHECK_STR(meant(""), "-");
    CHECK_STR(meant("a-word-that-is-longer-than-all-that-could-be-meant-by-it"), "-");
}

static void test_parts(void)
{
    const char *at = "12.x", *long_one = "1234567890.";
    int n;

    CHECK(ends_with("a.json", ".json") && ends_with(".json", ".json") && !ends_with("json", ".json"));
    CHECK(take_number(&at, &n) && n == 12 && *at == '.');
    CHECK(!take_number(&at, &n) && *at == '.');
    CHECK(!take_number(&long_one, &n));
    CHECK(splitmix64(0) == UINT64_C(0xe220a8397b1dcdaf)); /* the published sequence from state 0 */
    CHECK(splitmix64(SPLITMIX64_STEP) == UINT64_C(0x6e789e6aa1b965f4));
}

int main(void)
{
    test_layouts();
    test_escapes();
    test_doubles();
    test_map();
    test_nearest();
    test_parts();
    CHECK_END();
}
