/*
 * test_ggml.c -- blocks of ggml: every type against digests of what other decoders make of the same random
 * bytes (tests/reference/ggml_blocks.py), on every set of instructions; bf16, parts of rows, a factor beside
 * the map, and values that are no numbers.
 */
#include "check.h"

#include "base/hash.h"
#include "base/isa.h"
#include "quant/bf16.h"
#include "quant/stored.h"

enum { ELEMENTS = 8192, SHORT = 96, MOST_BYTES = ELEMENTS / 256 * 292 };

static uint8_t blocks[MOST_BYTES];
static float want[ELEMENTS], got[ELEMENTS];

/* The bytes that the digests are of. */
static void fill(uint64_t id, enum dtype d)
{
    size_t i, n = ELEMENTS / dtype_elements(d) * dtype_bytes(d);

    for (i = 0; i < n; i++)
        blocks[i] = (uint8_t)splitmix64((id << 32) + i);
}

/* All elements as rows of `in`. */
static struct stored map_of(enum dtype d, int in)
{
    struct stored s = {.coding = CODING_GGML, .out = ELEMENTS / in, .in = in, .step = 1, .stride = in};

    s.block = in;
    s.piece[USE_WEIGHT] = (struct stored_piece){
        .at = blocks, .row = (size_t)in / dtype_elements(d) * dtype_bytes(d), .per = 1, .dtype = d};
    return s;
}

static void digest(char text[SHA256_HEX])
{
    static uint32_t bits[ELEMENTS];
    int i;

    memcpy(bits, want, sizeof bits);
    for (i = 0; i < ELEMENTS; i++)
        bits[i] = (bits[i] & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : bits[i];
    sha256_hex(bits, sizeof bits, text);
}

static void check_bf16(enum dtype d, int in)
{
    static uint16_t half[ELEMENTS];
    struct stored s = map_of(d, in);
    int i, n = s.out * s.in, wrong = 0;

    stored_rows(&s, 0, s.out, half, (size_t)in, true);
    for (i = 0; i < n; i++)
        wrong += half[i] != f32_to_bf16(want[i]) && !isnan(want[i]);
    CHECK_MSG(wrong == 0, "%s: %d of %d bf16 values are wrong, rows of %d", dtype_name(d), wrong, n, in);
}

/* The second run of each row, alone. */
static void check_spans(enum dtype d)
{
    struct stored s = map_of(d, ELEMENTS / 4);
    int r, wrong = 0;

    for (r = 0; r < s.out; r++) {
        stored_span(&s, r, 256, 512, got);
        wrong += memcmp(got, want + (size_t)r * (size_t)s.in + 256, 512 * sizeof *got) != 0;
    }
    CHECK_MSG(wrong == 0, "%s: %d of %d parts of rows are wrong", dtype_name(d), wrong, s.out);
}

static void check_factor(enum dtype d)
{
    struct stored s = map_of(d, ELEMENTS / 4);
    static uint16_t half[ELEMENTS];
    float factor = .3f;
    int i, wrong = 0;

    s.piece[USE_GLOBAL] =
        (struct stored_piece){.at = (const uint8_t *)&factor, .per = s.out, .dtype = DT_F32};
    stored_rows(&s, 0, s.out, got, (size_t)s.in, false);
    stored_rows(&s, 0, s.out, half, (size_t)s.in, true);
    for (i = 0; i < ELEMENTS; i++)
        wrong += !isnan(want[i]) && (got[i] != want[i] * factor || half[i] != f32_to_bf16(got[i]));
    CHECK_MSG(wrong == 0, "%s: %d values with a factor are wrong", dtype_name(d), wrong);
}

/* The first value that is not finite is found, and none where none is. */
static void check_bad(enum dtype d)
{
    struct stored s = map_of(d, ELEMENTS);
    bool finite = stored_rows(&s, 0, 1, got, ELEMENTS, false);
    size_t at = 0, first = 0;
    const char *what = dtype_bad(d, blocks, ELEMENTS, &at);

    while (first < ELEMENTS && isfinite(want[first]))
        first++;
    CHECK_MSG(finite == (first == ELEMENTS) && !what == finite, "%s: '%s'", dtype_name(d), what ? what : "");
    if (what)
        CHECK_MSG(at == first && strcmp(what, isnan(want[first]) ? "NaN" : "infinity") == 0,
                  "%s: %s at %zu, not %zu", dtype_name(d), what, at, first);
}

static void check_type(const char *name, uint64_t id, const char *golden)
{
    char text[SHA256_HEX];
    struct stored s;
    int d = DT_Q4_0;

    while (d < DT_COUNT && strcmp(dtype_name((enum dtype)d), name) != 0)
        d++;
    CHECK_MSG(d < DT_COUNT, "no dtype %s", name);
    if (d == DT_COUNT)
        return;
    fill(id, (enum dtype)d);
    s = map_of((enum dtype)d, ELEMENTS);
    stored_rows(&s, 0, 1, want, ELEMENTS, false);
    digest(text);
    CHECK_MSG(strcmp(text, golden) == 0, "%s, %s: the values are others", name, isa_name(isa_best()));
    check_bf16((enum dtype)d, ELEMENTS);
    if (dtype_elements((enum dtype)d) == 32)
        check_bf16((enum dtype)d, SHORT);
    check_spans((enum dtype)d);
    check_factor((enum dtype)d);
    check_bad((enum dtype)d);
}

static void check_types(void)
{
    FILE *f = fopen("tests/data/ggml/blocks.tsv", "r");
    char name[16], golden[SHA256_HEX];
    unsigned id;
    int n = 0;

    CHECK(f);
    for (; f && fscanf(f, "%15s %u %64s", name, &id, golden) == 3; n++)
        check_type(name, id, golden);
    if (f)
        fclose(f);
    CHECK_MSG(n == DT_COUNT - DT_Q4_0, "%d types have digests", n);
}

/* Names, numbers and sizes as the list of ggml.h of ggml has them: some of them, and their sum. */
static void check_sizes(void)
{
    unsigned ids = 0, bytes = 0;
#define SUM(name, id, elements, size) ids += (id), bytes += (size)*256 / (elements);
    GGML_BLOCKS(SUM)
#undef SUM
    uint64_t size;

    CHECK(ids == 526 && bytes == 3572);
    CHECK(dtype_size(DT_Q4_K, 512, &size) && size == 288);
    CHECK(!dtype_size(DT_Q4_K, 128, &size) && !dtype_size(DT_Q8_0, 16, &size));
    CHECK(DT_GGML >> DT_Q2_0 & 1 && DT_GGML >> DT_Q4_0 & 1 && !(DT_GGML & DT_FLOATS));
}

int main(void)
{
    static const enum isa sets[] = {ISA_AVX512, ISA_AVX2, ISA_PLAIN};
    size_t i;

    check_sizes();
    for (i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (isa_best() < sets[i])
            continue;
        isa_limit(sets[i]);
        check_types();
    }
    CHECK_END();
}
