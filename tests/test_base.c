/*
 * test_base.c -- what lib/base promises: JSON refusals and edits, numbers, files that appear whole or not
 * at all.
 */
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/num.h"
#include "base/thread.h"
#include "check.h"
#include "tmp.h"

static void bad_json(const char *text, size_t n, const char *expect)
{
    struct err e = {0};
    cJSON *v;

    CHECK_MSG(json_parse(text, n, "t", &v, &e) == -1, "accepted: %s", text);
    CHECK_MSG(strstr(e.msg, expect) != NULL, "'%s' does not say '%s'", e.msg, expect);
}
#define BAD(text, expect) bad_json(text, strlen(text), expect)

static void test_parse(void)
{
    struct err e = {0};
    cJSON *v;

    CHECK(json_parse("{\"a\": \"\\\\u0000 \xc3\xa9\"} \n", 19, "t", &v, &e) == 0);
    cJSON_Delete(v);
    BAD("{\"a\": 1} x", "text after the value");
    BAD("{\"a\": }", "not JSON");
    BAD("\"\xff\"", "not UTF-8");
    BAD("\"\xed\xa0\x80\"", "not UTF-8"); /* a surrogate */
    BAD("\"\xc0\xaf\"", "not UTF-8");     /* an overlong form */
    BAD("\"a\\u0000b\"", "U+0000");
    bad_json("{\"a\"\0: 1}", 9, "U+0000");
    BAD("\xff\xfe{", "UTF-16");
    BAD("{\"a\": NaN, \"b\": }", "byte 16");
    BAD("{\"a\": -NaN}", "not JSON");
    CHECK(utf8_check("a\xf0\x9f\x98\x80z", 6) == 6);
    CHECK(utf8_check("a\xf0\x9f\x98", 4) == 1);
}

/* What editors put before a text, and what Python's json module writes for some numbers. */
static void test_foreign(void)
{
    static const char text[] = "\xef\xbb\xbf{\"a\": [NaN, -Infinity], \"b\": \"NaN\\\"Infinity\", "
                               "\"c\": {\"d\":Infinity}}";
    struct err e = {0};
    cJSON *v, *a;
    struct js s;

    if (json_parse(text, strlen(text), "t", &v, &e)) {
        CHECK_STR(e.msg, "");
        return;
    }
    a = cJSON_GetObjectItem(v, "a");
    CHECK(isnan(cJSON_GetArrayItem(a, 0)->valuedouble) && cJSON_IsNumber(cJSON_GetArrayItem(a, 0)));
    CHECK(cJSON_GetArrayItem(a, 1)->valuedouble == -INFINITY && cJSON_GetArraySize(a) == 2);
    CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(v, "b")), "NaN\"Infinity");
    CHECK(cJSON_GetObjectItem(cJSON_GetObjectItem(v, "c"), "d")->valuedouble == INFINITY);
    cJSON_Delete(v);
    js_init(&s, text, strlen(text), "t", &e);
    CHECK(js_skip(&s, NULL, NULL) == 0 && js_end(&s) == 0);
    js_init(&s, text, strlen(text), "t", &e);
    s.strict = true;
    CHECK(js_skip(&s, NULL, NULL) == -1);
}

/* Values that are passed over are numbers by the grammar too. */
static void test_number_grammar(void)
{
    static const char *const good[] = {"0", "-0", "12", "1.5", "1e9", "1E-9", "-1.25e+3"};
    static const char *const bad[] = {"1.2.3", "1e",  "1e+", "-",  "-+1",   "1.",
                                      ".5",    "1-2", "01",  "+1", "1e1.5", "1e--5"};
    size_t i;

    for (i = 0; i < sizeof good / sizeof *good + sizeof bad / sizeof *bad; i++) {
        bool want = i < sizeof good / sizeof *good;
        const char *text = want ? good[i] : bad[i - sizeof good / sizeof *good];
        struct err e = {0};
        struct js s;

        js_init(&s, text, strlen(text), "t", &e);
        js_skip(&s, NULL, NULL);
        CHECK_MSG((js_end(&s) == 0) == want, "'%s'", text);
    }
}

static int scan(const char *text, uint64_t *sum, struct err *e)
{
    struct str key = {0};
    struct js s;
    uint64_t v;

    js_init(&s, text, strlen(text), "t", e);
    js_open(&s, '{');
    while (js_key(&s, &key)) {
        js_open(&s, '[');
        while (js_item(&s))
            if (js_u64(&s, &v) == 0)
                *sum += v;
    }
    js_end(&s);
    str_free(&key);
    return e->kind ? -1 : 0;
}

static void test_scanner(void)
{
    static const char *const bad[] = {"{\"a\": [1,]}",
                                      "{\"a\": [1 2]}",
                                      "{\"a\": [1]",
                                      "{\"a\": [1]} x",
                                      "{\"a\" [1]}",
                                      "{\"a\": [-1]}",
                                      "{\"a\": [1.5]}",
                                      "{\"a\": [01]}",
                                      "{,}",
                                      "{\"a\": [1],}",
                                      "{\"a\": [18446744073709551616]}",
                                      "{\"\\ud800\": [1]}",
                                      "{\"a\nb\": []}",
                                      ""};
    uint64_t sum = 0;
    struct err e = {0};
    size_t i;

    CHECK(scan(" { \"a\" : [ 1 , 2 ], \"b\\u00e9\\ud83d\\ude00\": [], \"c\":[18446744073709551615]} ", &sum,
               &e) == 0);
    CHECK_MSG(sum == 2, "sum %llu", (unsigned long long)sum); /* wraps: 3 + 2^64 - 1 */
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        err_clear(&e);
        CHECK_MSG(scan(bad[i], &sum, &e) == -1, "accepted: %s", bad[i]);
    }
}

/* Applies one edit to a text and compares. */
static void edit(int kind, const char *text, const char *const *path, const char *value, const char *expect)
{
    struct err e = {0};
    char *t = mem_strdup(text, &e);
    size_t n = strlen(text);

    if (kind == 0)
        json_replace(&t, &n, "t", path, value, &e);
    else if (kind == 1)
        json_set(&t, &n, "t", path, value, &e);
    else
        json_remove(&t, &n, "t", path, &e);
    CHECK_STR(e.msg, "");
    CHECK_STR(t, expect);
    CHECK(n == strlen(t));
    free(t);
}

static void test_edits(void)
{
    static const char *const a[] = {"a", NULL}, *const b[] = {"b", NULL}, *const xa[] = {"x", "a", NULL};
    const char *doc = "{\n  \"a\": 1e6,\n  \"b\": [ 1, {\"a\": 2} ],\n  \"x\": {\"a\": \"q\\\"\"}\n}\n";
    struct err e = {0};
    size_t from, to;

    edit(0, doc, a, "7", "{\n  \"a\": 7,\n  \"b\": [ 1, {\"a\": 2} ],\n  \"x\": {\"a\": \"q\\\"\"}\n}\n");
    edit(0, doc, xa, "null", "{\n  \"a\": 1e6,\n  \"b\": [ 1, {\"a\": 2} ],\n  \"x\": {\"a\": null}\n}\n");
    edit(2, doc, a, NULL, "{\n  \"b\": [ 1, {\"a\": 2} ],\n  \"x\": {\"a\": \"q\\\"\"}\n}\n");
    edit(2, doc, b, NULL, "{\n  \"a\": 1e6,\n  \"x\": {\"a\": \"q\\\"\"}\n}\n");
    edit(2, doc, xa, NULL, "{\n  \"a\": 1e6,\n  \"b\": [ 1, {\"a\": 2} ],\n  \"x\": {}\n}\n");
    edit(1, "{\n  \"a\": 1\n}\n", b, "2", "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
    edit(1, "{}", b, "2", "{\"b\": 2}");
    edit(1, "{\"b\":1}", b, "2", "{\"b\":2}");
    edit(0, "{\"c\":1}", b, "2", "{\"c\":1}");
    CHECK(json_find("{\"a\":1,\"a\":2}", 13, "t", a, &from, &to, &e) == -1);
    CHECK(strstr(e.msg, "twice") != NULL);
}

static void test_numbers(void)
{
    struct err e = {0};
    uint64_t size;
    int64_t n;
    double d;
    char buf[32];

    CHECK(num_size("16GB", "s", &size, &e) == 0 && size == 16000000000u);
    CHECK(num_size("1.5 KiB", "s", &size, &e) == 0 && size == 1536);
    CHECK(num_size("12", "s", &size, &e) == 0 && size == 12);
    CHECK(num_size("12 bananas", "s", &size, &e) == -1);
    err_clear(&e);
    CHECK(num_ratio("0.29", "r", 100, &n, &e) == 0 && n == 29); /* 0.29 * 100 is 28.999... in doubles */
    CHECK(num_ratio("25%", "r", 32, &n, &e) == 0 && n == 8);
    CHECK(num_ratio("0", "r", 32, &n, &e) == 0 && n == 0);
    CHECK(num_ratio("1", "r", 32, &n, &e) == -1);
    err_clear(&e);
    CHECK(num_ratio("-0.1", "r", 32, &n, &e) == -1);
    err_clear(&e);
    CHECK(num_i64("12x", "i", 0, 99, &n, &e) == -1);
    err_clear(&e);
    CHECK(num_i64("100", "i", 0, 99, &n, &e) == -1);
    err_clear(&e);
    CHECK(num_double("0x10", "d", 0, 99, &d, &e) == -1);
    err_clear(&e);
    CHECK(num_double("nan", "d", 0, 99, &d, &e) == -1);
    CHECK_STR(num_bytes(13761300984, buf), "13.76 GB");
    CHECK_STR(num_bytes(999, buf), "999 B");
    CHECK_STR(num_thousands(-1234567, buf), "-1,234,567");
}

static void test_digests(void)
{
    char hex[SHA256_HEX], x[HASH_HEX];

    sha256_hex("abc", 3, hex);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex("", 0, hex);
    CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    CHECK_STR(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    hash_once("", 0, x);
    CHECK_STR(x, "99aa06d3014798d86001c324468d497f");
}

/* What is neither a file nor a directory is never replaced, force or not; nor is there a file without a name.
 */
static void test_odd_targets(const char *to, const char *path)
{
    struct err e = {0};
    struct outdir d;

    CHECK(mkfifo(path, 0600) == 0);
    CHECK(file_write(path, "x", 1, true, &e) == -1 && strstr(e.msg, "is not a regular file"));
    err_clear(&e);
    unlink(path);
    CHECK(symlink(to, path) == 0);
    CHECK(file_write(path, "x", 1, true, &e) == -1 && strstr(e.msg, "is not a regular file"));
    err_clear(&e);
    CHECK(outdir_open(&d, path, true, NULL, NULL, &e) == -1 && strstr(e.msg, "is not a directory"));
    err_clear(&e);
    unlink(path);
    CHECK(file_write("", "x", 1, false, &e) == -1 && e.kind == ERR_USAGE);
    err_clear(&e);
    CHECK(outdir_open(&d, "", false, NULL, NULL, &e) == -1 && e.kind == ERR_USAGE);
    err_clear(&e);
}

/* What comes into being between opening and commit is not replaced without force. */
static void test_meanwhile(void)
{
    const char *path = in_tmp("late"), *other = in_tmp("other");
    struct err e = {0};
    struct wfile w;
    struct outdir d;
    char *text, *complete;
    size_t n;

    CHECK(wfile_open(&w, path, false, &e) == 0 && wfile_write(&w, "mine", 4, &e) == 0);
    CHECK(file_write(path, "theirs", 6, false, &e) == 0);
    CHECK(wfile_commit(&w, &e) == -1 && strstr(e.msg, "came into being meanwhile"));
    wfile_close(&w);
    err_clear(&e);
    complete = mem_printf(&e, "%s.complete-%ld", path, (long)getpid());
    CHECK(complete && file_read(complete, 9, &text, &n, &e) == 0 && strcmp(text, "mine") == 0);
    free(text);
    input_release(complete);
    unlink(complete);
    free(complete);
    CHECK(file_read(path, 9, &text, &n, &e) == 0 && strcmp(text, "theirs") == 0);
    free(text);
    input_release(path);
    unlink(path);
    CHECK(outdir_open(&d, path, false, NULL, NULL, &e) == 0 && mkdir(path, 0700) == 0);
    CHECK(outdir_commit(&d, &e) == -1 && strstr(e.msg, "exists already"));
    outdir_close(&d);
    err_clear(&e);
    rmdir(path);
    /* a link to a directory, with force */
    CHECK(mkdir(other, 0700) == 0 && file_write(in_tmp("other/file"), "x", 1, false, &e) == 0);
    CHECK(outdir_open(&d, path, true, NULL, NULL, &e) == 0 && symlink(other, path) == 0);
    CHECK(outdir_commit(&d, &e) == -1 && strstr(e.msg, "is not a directory"));
    outdir_close(&d);
    err_clear(&e);
    CHECK(path_exists(in_tmp("other/file")));
    CHECK(unlink(path) == 0 && unlink(in_tmp("other/file")) == 0 && rmdir(other) == 0);
}

/* Says yes that often. */
static int fits(void *ctx, const char *dir, struct err *e)
{
    int *often = ctx;

    return (*often)-- > 0 ? 0 : err_set(e, ERR_INPUT, "'%s' does not fit", dir);
}

/* With force a directory is replaced if it is empty or fits: when it is opened, at commit, and once it has
 * another name; links in it are not followed. */
static void test_replaced(void)
{
    const char *path = in_tmp("dir"), *kept = in_tmp("kept");
    struct err e = {0};
    struct outdir d;
    int often;

    CHECK(mkdir(path, 0700) == 0 && mkdir(in_tmp("dir/below"), 0700) == 0 && mkdir(kept, 0700) == 0);
    CHECK(file_write(in_tmp("kept/file"), "x", 1, false, &e) == 0 &&
          symlink(kept, in_tmp("dir/below/link")) == 0);
    CHECK(outdir_open(&d, path, true, NULL, NULL, &e) == -1 && strstr(e.msg, "is not empty"));
    err_clear(&e);
    for (often = 0; often < 3; often++) {
        int n = often;
        bool opened = outdir_open(&d, path, true, fits, &n, &e) == 0;

        CHECK(opened == (often > 0));
        CHECK(!opened || outdir_commit(&d, &e) == -1);
        CHECK(strstr(e.msg, often < 2 ? "does not fit" : "changed while") &&
              path_exists(in_tmp("dir/below")));
        outdir_close(&d);
        err_clear(&e);
    }
    CHECK(outdir_open(&d, path, true, fits, &often, &e) == 0 && outdir_commit(&d, &e) == 0);
    outdir_close(&d);
    CHECK(!path_exists(in_tmp("dir/below")) && path_exists(in_tmp("kept/file")));
    CHECK(rmdir(path) == 0 && unlink(in_tmp("kept/file")) == 0 && rmdir(kept) == 0);
}

/* Files that were read, files of a model's directory, files that were announced as outputs. */
static void test_inputs(void)
{
    const char *path = in_tmp("in"), *linked = in_tmp("linked"), *theirs = in_tmp("theirs");
    struct err e = {0};
    struct outdir d;
    struct rfile f;
    char *text;
    size_t n;

    CHECK(file_write(path, "x", 1, false, &e) == 0 && link(path, linked) == 0);
    CHECK(file_write(path, "x", 1, true, &e) == 0); /* another file now */
    CHECK(unlink(linked) == 0 && link(path, linked) == 0);
    CHECK(rfile_open(&f, path, &e) == 0);
    rfile_close(&f);
    CHECK(file_write(path, "y", 1, true, &e) == -1 && e.kind == ERR_USAGE &&
          strstr(e.msg, "/in' is one of the inputs"));
    err_clear(&e);
    CHECK(file_write(linked, "y", 1, true, &e) == -1 && strstr(e.msg, "/linked' is one of the inputs"));
    err_clear(&e);
    CHECK(output_check(linked, true, &e) == -1);
    err_clear(&e);
    CHECK(outdir_open(&d, tmp_dir, true, NULL, NULL, &e) == -1 && strstr(e.msg, "holds one of the inputs"));
    err_clear(&e);
    CHECK(file_read(path, 9, &text, &n, &e) == 0);
    free(text);
    input_release(path);
    CHECK(file_write(path, "y", 1, true, &e) == -1); /* it was opened twice */
    err_clear(&e);
    input_release(path);
    CHECK(output_check(path, true, &e) == 0 && file_read(path, 9, &text, &n, &e) == -1);
    CHECK(strstr(e.msg, "is one of the inputs"));
    err_clear(&e);
    CHECK(input_dir(tmp_dir, &e) == -1 && strstr(e.msg, "/in' is one of the inputs"));
    err_clear(&e);
    input_dir_release(tmp_dir);
    CHECK(file_write(path, "y", 1, true, &e) == 0);
    unlink(linked);
    CHECK(input_dir(tmp_dir, &e) == 0);
    CHECK(file_write(path, "y", 1, true, &e) == 0); /* what the process made is its own */
    CHECK(file_write(theirs, "y", 1, true, &e) == -1 && strstr(e.msg, "is one of the inputs"));
    err_clear(&e);
    CHECK(input_own(theirs, &e) == 0 && file_write(theirs, "y", 1, true, &e) == 0);
    input_dir_release(tmp_dir);
    CHECK(unlink(theirs) == 0 && unlink(path) == 0);
}

static void test_files(void)
{
    const char *path;
    char *text;
    struct err e = {0};
    struct wfile w;
    struct outdir d;
    size_t n;

    tmp_open();
    CHECK(close(creat(in_tmp("theirs"), 0600)) ==
          0); /* first: no file that the process made had its number */
    path = in_tmp("f");
    CHECK(wfile_open(&w, path, false, &e) == 0);
    CHECK(wfile_write(&w, "half", 4, &e) == 0);
    wfile_close(&w); /* not committed: nothing is left */
    CHECK(!path_exists(path));
    CHECK(file_write(path, "whole", 5, false, &e) == 0);
    CHECK(file_read(path, 100, &text, &n, &e) == 0 && n == 5 && strcmp(text, "whole") == 0);
    free(text);
    input_release(path);
    CHECK(file_write(path, "again", 5, false, &e) == -1);
    CHECK(strstr(e.msg, "exists already") != NULL);
    err_clear(&e);
    CHECK(file_read(path, 4, &text, &n, &e) == -1);
    err_clear(&e);
    CHECK(outdir_open(&d, path, true, NULL, NULL, &e) == -1 && strstr(e.msg, "is not a directory"));
    err_clear(&e);
    input_release(path);
    unlink(path);
    test_odd_targets(tmp_dir, path);
    CHECK(outdir_open(&d, path, false, NULL, NULL, &e) == 0);
    CHECK(!path_exists(path) && path_is_dir(d.tmp));
    outdir_close(&d);
    CHECK(outdir_open(&d, path, false, NULL, NULL, &e) == 0 && outdir_commit(&d, &e) == 0);
    outdir_close(&d);
    CHECK(path_is_dir(path));
    CHECK(outdir_open(&d, path, false, NULL, NULL, &e) == -1);
    err_clear(&e);
    CHECK(outdir_open(&d, path, true, NULL, NULL, &e) == 0 && outdir_commit(&d, &e) == 0);
    outdir_close(&d);
    CHECK(rmdir(path) == 0);
    test_meanwhile();
    test_replaced();
    test_inputs();
    CHECK_MSG(rmdir(tmp_dir) == 0, "something was left in %s", tmp_dir);
}

static void square(void *ctx, long task, int worker)
{
    (void)worker;
    ((long *)ctx)[task] = task * task;
}

static void test_pool(void)
{
    struct err e = {0};
    struct pool *p;
    long v[1000], i, wrong = 0;
    int round;

    CHECK(pool_open(&p, 4, NULL, &e) == 0);
    for (round = 0; round < 50; round++) {
        memset(v, 0, sizeof v);
        pool_run(p, 1000, square, v);
        for (i = 0; i < 1000; i++)
            wrong += v[i] != i * i;
    }
    CHECK(wrong == 0);
    pool_close(p);
}

int main(void)
{
    test_parse();
    test_foreign();
    test_number_grammar();
    test_scanner();
    test_edits();
    test_numbers();
    test_digests();
    test_files();
    test_pool();
    CHECK_END();
}
