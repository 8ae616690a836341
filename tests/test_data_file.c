/* test_data_file.c -- files of DATA: their forms by content, not by name alone; gzip and zstd; what is
 * refused by its name. */
#include "tmp.h"

#include <zlib.h>
#include <zstd.h>

#include "text/data_file.h"

/* "line:length " of each document, or the message. */
static const char *documents(const char *name, const void *text, size_t n, enum data_form *form)
{
    static char out[1200];
    const char *path = in_tmp(name);
    struct data_file f;
    struct data_at at = {0};
    struct err e = {0};
    FILE *to = fopen(path, "wb");
    size_t k = 0;
    int r;

    CHECK(to && fwrite(text, 1, n, to) == n && fclose(to) == 0);
    *out = 0;
    r = data_file_open(&f, path, &e);
    *form = f.form;
    while (!r && (r = data_next(&f, &at, &e)) > 0) {
        k += (size_t)snprintf(out + k, sizeof out - k, "%d:%.*s ", at.line, (int)at.n, f.text + at.off);
        r = 0;
    }
    if (r < 0)
        snprintf(out, sizeof out, "%s", e.msg);
    data_file_free(&f);
    unlink(path);
    return out;
}

static void test_forms(void)
{
#define ONE "{\"text\":\"a\"}"
#define TWO "{\"text\":\"}\\\"]\"}"
#define BAD "{\"none\":1}"
    static const struct {
        const char *name, *text;
        enum data_form form;
        const char *out;
    } cases[] = {
        {"x.jsonl", ONE "\n\n" TWO, DATA_LINES, "0:" ONE " 2:" TWO " "},
        {"x.JSONL", BAD "\n", DATA_LINES, "0:" BAD " "},
        {"x.ndjson", "\n" ONE, DATA_LINES, "1:" ONE " "},
        {"x.jsonl.txt", ONE "\n" TWO "\n", DATA_LINES, "0:" ONE " 1:" TWO " "},
        {"x", ONE, DATA_LINES, "0:" ONE " "},
        {"x.log", BAD "\n" BAD "\n", DATA_LINES, "0:" BAD " 1:" BAD " "}, /* then refused as documents */
        {"x.txt", BAD "\n", DATA_TEXT, "0:" BAD "\n "},
        {"x.txt", ONE " is how a line looks\n", DATA_TEXT, "0:" ONE " is how a line looks\n "},
        {"x.txt", "[x] to do\n", DATA_TEXT, "0:[x] to do\n "},
        {"x.c", "{\n  int x;\n}\n", DATA_TEXT, "0:{\n  int x;\n}\n "},
        {"x.json", "[\n" ONE " ,\n\n" TWO "\n]\n", DATA_ARRAY, "1:" ONE " 3:" TWO " "},
        {"x", "[" ONE "," TWO "]", DATA_ARRAY, "0:" ONE " 0:" TWO " "},
        {"x.json", "[]", DATA_ARRAY, ""},
        {"x.json", "{\n\"text\":\"a\"\n}\n{\n\"text\":\"b\"}", DATA_VALUES,
         "0:{\n\"text\":\"a\"\n} 3:{\n\"text\":\"b\"} "},
        {"x.jsonl", "{\"text\":\"a\"\n" ONE "\n", DATA_LINES, "0:{\"text\":\"a\" 1:" ONE " "},
        {"x.jsonl", "\xef\xbb\xbf" ONE "\r\n", DATA_LINES, "0:" ONE "\r "},
        {"x.txt",
         "\xef\xbb\xbf"
         "abc",
         DATA_TEXT, "0:abc "},
        {"x.txt", "", DATA_TEXT, "0: "},
        /* texts that begin like another kind of file */
        {"x.txt", "ORCHARDS bear\n", DATA_TEXT, "0:ORCHARDS bear\n "},
        {"x.md", "GGUF is a format", DATA_TEXT, "0:GGUF is a format "},
        {"x.txt", "BZh\tx", DATA_TEXT, "0:BZh\tx "},
        {"x.html", "<!DOCTYPE html>", DATA_TEXT, "0:<!DOCTYPE html> "},
    };
    enum data_form form;
    const char *out;
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        out = documents(cases[i].name, cases[i].text, strlen(cases[i].text), &form);
        CHECK_MSG(form == cases[i].form && strcmp(out, cases[i].out) == 0, "case %zu: form %d, %s", i, form,
                  out);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *name, *text, *why;
    } cases[] = {
        {"x.parquet", "PAR1 and more", "FROM '"},
        {"x.csv", "text,category\na,b\n", "is CSV, a table; DuckDB makes JSON lines of it: duckdb -c"},
        {"x.bz2", "BZh91AY&SY\x02", "bunzip2"},
        {"x.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"},
        {"x.txt",
         "\xff\xfe"
         "a",
         "UTF-16"},
        {"x.json", "[{\"a\":1}", "cut off"},
        {"x.jsonl", "<!DOCTYPE html>", "a page of a web site"},
    };
    enum data_form form;
    const char *out;
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        out = documents(cases[i].name, cases[i].text, strlen(cases[i].text), &form);
        CHECK_MSG(strstr(out, cases[i].why), "case %zu: %s", i, out);
    }
}

static size_t pack_gzip(const char *text, unsigned char *out, size_t cap)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)text,
                  .avail_in = (uInt)strlen(text),
                  .next_out = out,
                  .avail_out = (uInt)cap};

    CHECK(deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    return cap - z.avail_out;
}

/* Two members or frames; one of them cut off at every byte; something behind them. */
static void test_packed(void)
{
    unsigned char packed[2000];
    enum data_form form;
    size_t n, first, k;
    int zstd;

    for (zstd = 0; zstd < 2; zstd++) {
        const char *name = zstd ? "x.jsonl.zst" : "X.JSONL.GZ", *out;

        first = zstd ? ZSTD_compress(packed, sizeof packed, ONE "\n", strlen(ONE) + 1, 3)
                     : pack_gzip(ONE "\n", packed, sizeof packed);
        n = first + (zstd ? ZSTD_compress(packed + first, sizeof packed - first, TWO, strlen(TWO), 3)
                          : pack_gzip(TWO, packed + first, sizeof packed - first));
        out = documents(name, packed, n, &form);
        CHECK_MSG(form == DATA_LINES && strcmp(out, "0:" ONE " 1:" TWO " ") == 0, "%s: %s", name, out);
        for (k = 5; k < n; k++) {
            out = documents(name, packed, k, &form);
            CHECK_MSG(k == first || strstr(out, "damaged"), "%s of %zu bytes: %s", name, k, out);
        }
        packed[n] = 'x';
        out = documents(name, packed, n + 1, &form);
        CHECK_MSG(strstr(out, "damaged"), "%s with a byte more: %s", name, out);
    }
}

/* More than a piece of the output at a time. */
static void test_large(void)
{
    size_t n = 5 << 20, k = ZSTD_compressBound(n);
    char *text = calloc(1, n + 1), *packed = malloc(k);
    struct data_file f;
    struct err e = {0};
    FILE *to = fopen(in_tmp("x.zst"), "wb");

    CHECK(text && packed && to);
    memset(text, 'a', n);
    k = ZSTD_compress(packed, k, text, n, 1);
    CHECK(fwrite(packed, 1, k, to) == k && fclose(to) == 0);
    CHECK_MSG(data_file_open(&f, in_tmp("x.zst"), &e) == 0, "%s", e.msg);
    CHECK(f.n == n && memcmp(f.text, text, n) == 0 && f.packed);
    CHECK_STR(f.stem, "x");
    data_file_free(&f);
    unlink(in_tmp("x.zst"));
    free(text);
    free(packed);
}

int main(void)
{
    tmp_open();
    test_forms();
    test_refused();
    test_packed();
    test_large();
    CHECK_END();
}
