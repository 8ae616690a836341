/*
 * test_gguf.c -- GGUF: files that are right, and files that are wrong in one way each.
 */
#include "tmp.h"

#include <stdint.h>

#include "base/mem.h"
#include "model/container/gguf_kv.h"

static struct err err;

/* ---- a file under way ---- */

static struct str out;

static void put_uint(uint64_t v, int bytes)
{
    while (bytes--) {
        str_addc(&out, (char)v);
        v >>= 8;
    }
}

static void put_text(const char *s)
{
    put_uint(strlen(s), 8);
    str_adds(&out, s);
}

static void begin(unsigned version, uint64_t tensors, uint64_t values)
{
    str_clear(&out);
    str_adds(&out, GGUF_MAGIC);
    put_uint(version, 4);
    put_uint(tensors, 8);
    put_uint(values, 8);
}

static void put_key(const char *key, enum gguf_type type)
{
    put_text(key);
    put_uint(type, 4);
}

static void put_info(const char *name, unsigned dims, uint64_t ne0, unsigned type, uint64_t offset)
{
    unsigned i;

    put_text(name);
    put_uint(dims, 4);
    for (i = 0; i < dims; i++)
        put_uint(i ? 1 : ne0, 8);
    put_uint(type, 4);
    put_uint(offset, 8);
}

/* Opens what was put together. */
static int head(struct gguf *g)
{
    const char *path = anew("x.gguf");

    err_clear(&err);
    CHECK(file_write(path, out.p ? out.p : "", out.n, false, &err) == 0);
    return gguf_open(g, path, &err);
}

static void refuse(const char *what)
{
    struct gguf g;

    CHECK(head(&g) < 0);
    CHECK_MSG(strstr(err.msg, what), "'%s' says nothing of '%s'", err.msg, what);
    err_clear(&err);
}

/* ---- metadata ---- */

static void test_values(void)
{
    const struct gguf_value *v;
    const uint8_t *at;
    struct gguf_text t;
    struct gguf g;
    int64_t n;
    double d;

    begin(3, 1, 6);
    put_key("a", GGUF_STRING), put_text("text");
    put_key("b", GGUF_ARRAY), put_uint(GGUF_STRING, 4), put_uint(2, 8), put_text("one"), put_text("");
    put_key("c", GGUF_I8), put_uint(0xfe, 1);
    put_key("d", GGUF_F32), put_uint(0x3e800000, 4);
    put_key("e", GGUF_ARRAY), put_uint(GGUF_U16, 4), put_uint(3, 8), put_uint(0x000300020001, 6);
    put_key("f", GGUF_U64), put_uint(UINT64_MAX, 8);
    put_info("w", 2, 7, 0, 0);
    CHECK(head(&g) == 0 && g.n_values == 6 && g.n_infos == 1 && g.version == 3);
    CHECK(gguf_string(gguf_find(&g, "a"), &t) && gguf_is(&t, "text") && !gguf_is(&t, "tex"));
    v = gguf_find(&g, "b");
    at = v->at;
    CHECK(v->array && v->n == 2 && gguf_next(v, &at, &t) && gguf_is(&t, "one"));
    CHECK(gguf_next(v, &at, &t) && t.n == 0 && !gguf_next(v, &at, &t));
    CHECK(gguf_int(gguf_find(&g, "c"), 0, &n) && n == -2 && !gguf_int(gguf_find(&g, "c"), 1, &n));
    CHECK(gguf_number(gguf_find(&g, "d"), 0, &d) && d == 0.25 && !gguf_int(gguf_find(&g, "d"), 0, &n));
    CHECK(gguf_int(gguf_find(&g, "e"), 2, &n) && n == 3);
    CHECK(!gguf_int(gguf_find(&g, "f"), 0, &n) && gguf_number(gguf_find(&g, "f"), 0, &d) && d > 1e19);
    CHECK(!gguf_find(&g, "g") && !gguf_int(NULL, 0, &n) && !gguf_string(gguf_find(&g, "c"), &t));
    CHECK(gguf_is(&g.info[0].name, "w") && g.info[0].ne[0] == 7 && g.info[0].ne[3] == 1);
    CHECK(g.data % 32 == 0 && g.data >= out.n && g.data < out.n + 32);
    gguf_close(&g);
}

static void test_wrong_heads(void)
{
    begin(1, 0, 0), refuse("version 1");
    begin(0x03000000, 0, 0), refuse("other byte order");
    begin(3, 0, 1), refuse("truncated");
    begin(3, UINT64_MAX, 0), refuse("truncated");
    begin(3, 0, 1), put_uint(UINT64_MAX, 8), refuse("past the end");
    begin(3, 0, 1), put_key("", GGUF_U8), put_uint(0, 1), refuse("is empty");
    begin(3, 0, 1), put_key("k", 13), put_uint(0, 8), refuse("'k' has a value of an unknown type");
    begin(3, 0, 1), put_key("k", GGUF_BOOL), put_uint(2, 1), refuse("'k' is a boolean");
    begin(3, 0, 1), put_key("k", GGUF_ARRAY), put_uint(GGUF_ARRAY, 4), put_uint(1, 8);
    refuse("'k' is an array of arrays");
    begin(3, 0, 1), put_key("k", GGUF_ARRAY), put_uint(GGUF_U64, 4), put_uint(UINT64_MAX / 4, 8);
    refuse("'k' has more elements");
    begin(3, 0, 1), put_key("k", GGUF_ARRAY), put_uint(GGUF_STRING, 4), put_uint(UINT64_MAX, 8);
    refuse("past the end");
    begin(3, 0, 2), put_key("k", GGUF_U8), put_uint(0, 1), put_key("k", GGUF_U8), put_uint(0, 1);
    refuse("'k' is there twice");
    begin(3, 0, 1), put_key("general.alignment", GGUF_U32), put_uint(48, 4), refuse("power of two");
    begin(3, 0, 1), put_key("general.alignment", GGUF_U64), put_uint(32, 8), refuse("power of two");
    begin(3, 1, 0), put_info("w", 5, 1, 0, 0), refuse("'w' has more than 4 dimensions");
    begin(3, 2, 0), put_info("w", 1, 1, 0, 0), put_info("w", 1, 1, 0, 0), refuse("'w' is there twice");
    begin(3, 1, 0), put_info("", 1, 1, 0, 0), refuse("name is empty");
    str_clear(&out), str_adds(&out, "GGML"), put_uint(3, 4), refuse("no GGUF");
    str_clear(&out), refuse("truncated");
}

/* More than is read at once: what was found before must still be there. */
static void test_long_head(void)
{
    enum { WORDS = 200000 };
    struct gguf_text t = {0};
    const struct gguf_value *v;
    const uint8_t *at;
    struct gguf g;
    size_t i;

    begin(2, 0, 2);
    put_key("first", GGUF_STRING), put_text("here");
    put_key("words", GGUF_ARRAY), put_uint(GGUF_STRING, 4), put_uint(WORDS, 8);
    for (i = 0; i < WORDS; i++)
        put_text("some words");
    CHECK(head(&g) == 0 && gguf_string(gguf_find(&g, "first"), &t) && gguf_is(&t, "here"));
    v = gguf_find(&g, "words");
    at = v->at;
    for (i = 0; gguf_next(v, &at, &t) && gguf_is(&t, "some words"); i++)
        ;
    CHECK(i == WORDS);
    gguf_close(&g);
}

int main(void)
{
    tmp_open();
    test_values();
    test_wrong_heads();
    test_long_head();
    str_free(&out);
    CHECK_END();
}
