/*
 * gemm_onednn.c -- matrix products by oneDNN
 *
 * Its matmul, with weights in the library's own layout. Compiles against 2.x (memory
 * descriptors are structs, an operation descriptor comes before the primitive descriptor) and 3.x
 * (opaque descriptors); the shim at the top hides the difference. Products of bf16 are our own (product.h).
 */
#include "cpu/gemm.h"

#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cpu/product.h"

/* Elsewhere the library does not say what the processor can do. */
#ifdef __x86_64__
#define X86 1
#else
#define X86 0
#endif

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t desc;
typedef const_dnnl_memory_desc_t desc_view;

static int desc_strided(desc *d, int64_t a, int64_t b, dnnl_data_type_t t, int64_t sa, int64_t sb)
{
    const dnnl_dims_t dims = {a, b}, strides = {sa, sb};

    return dnnl_memory_desc_create_with_strides(d, 2, dims, t, strides);
}

static int desc_any(desc *d, int64_t a, int64_t b, dnnl_data_type_t t)
{
    const dnnl_dims_t dims = {a, b};

    return dnnl_memory_desc_create_with_tag(d, 2, dims, t, dnnl_format_tag_any);
}

static void desc_free(desc *d)
{
    if (*d)
        dnnl_memory_desc_destroy(*d);
}

static int matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t en, desc x, desc w, desc y,
                     dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, en, x, w, NULL, y, attr);
}

#define DESC_VIEW(d) (d)
#else
typedef dnnl_memory_desc_t desc;
typedef const dnnl_memory_desc_t *desc_view;

static int desc_strided(desc *d, int64_t a, int64_t b, dnnl_data_type_t t, int64_t sa, int64_t sb)
{
    const dnnl_dims_t dims = {a, b}, strides = {sa, sb};

    return dnnl_memory_desc_init_by_strides(d, 2, dims, t, strides);
}

static int desc_any(desc *d, int64_t a, int64_t b, dnnl_data_type_t t)
{
    const dnnl_dims_t dims = {a, b};

    return dnnl_memory_desc_init_by_tag(d, 2, dims, t, dnnl_format_tag_any);
}

static void desc_free(desc *d)
{
    (void)d;
}

static int matmul_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t en, desc x, desc w, desc y,
                     dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t op;
    int s = dnnl_matmul_desc_init(&op, &x, &w, NULL, &y);

    return s ? s : (int)dnnl_primitive_desc_create(pd, &op, attr, en, NULL);
}

#define DESC_VIEW(d) (&(d))
#endif

/* What one worker needs to run a shape: memory objects whose data pointers are set before each call. */
struct slot {
    dnnl_memory_t x, w, y, scratch, rows;
    void *scratch_bytes;
};

struct gemm_shape {
    int k, n;
    size_t packed_bytes;
    struct gemm *g;
    dnnl_primitive_t product, reorder;
    struct slot *slot; /* [workers] */
    struct gemm_shape *next;
};

struct gemm {
    bool bf16;
    const struct product *own; /* of bf16; NULL: the library's, of f32 */
    int workers;
    char library[128];
    dnnl_engine_t engine;
    dnnl_stream_t *stream; /* [workers] */
    struct gemm_shape *shapes;
};

const char *const gemm_products[] = {"onednn", NULL};

void gemm_thread_start(void)
{
    omp_set_num_threads(1);
}

/* A set's number contains the bits of the older sets in it. */
static bool includes(dnnl_cpu_isa_t isa, dnnl_cpu_isa_t older)
{
    return ((unsigned)isa & (unsigned)older) == (unsigned)older;
}

static const char *library_isa(dnnl_cpu_isa_t isa)
{
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } names[] = {{dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
                 {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
                 {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
                 {dnnl_cpu_isa_avx512_core, "avx512_core"},
                 {dnnl_cpu_isa_avx2, "avx2"}};
    size_t i;

    for (i = 0; X86 && i < sizeof names / sizeof *names; i++)
        if (includes(isa, names[i].isa))
            return names[i].name;
    return "generic";
}

/* The library's sets, in the order of ours. */
static const dnnl_cpu_isa_t isa_of[ISA_COUNT] = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2,
                                                 dnnl_cpu_isa_avx512_core, dnnl_cpu_isa_avx512_core_bf16,
                                                 dnnl_cpu_isa_avx512_core_amx};

/* What MOE_CPU says holds for the library too, which can be told once, before its first product. */
static dnnl_cpu_isa_t narrow(void)
{
    const char *said = getenv("MOE_CPU");

    if (X86 && said && *said)
        dnnl_set_max_cpu_isa(isa_of[isa_best()]);
    return dnnl_get_effective_cpu_isa();
}

/* The set for products of our own: no more than the library's, which reads ONEDNN_MAX_CPU_ISA. */
static enum isa own_isa(dnnl_cpu_isa_t library)
{
    int i = (int)isa_best();

    while (i > ISA_PLAIN && !includes(library, isa_of[i]))
        i--;
    return (enum isa)i;
}

static int failed(struct err *e, const char *what, int status)
{
    return err_set(e, ERR_DEVICE, "oneDNN: %s failed (status %d)", what, status);
}

int gemm_open(struct gemm **out, enum precision p, int workers, struct err *e)
{
    const dnnl_version_t *v = dnnl_version();
    dnnl_cpu_isa_t isa = narrow();
    enum isa own = own_isa(isa);
    struct gemm_shape *probe;
    struct gemm *g = mem_new(1, sizeof *g, e);
    int i, s;

    *out = NULL;
    if (!g)
        return -1;
    g->bf16 = p == PREC_BF16 || (p == PREC_AUTO && own >= ISA_AVX512_BF16);
    g->own = g->bf16 ? product_of(own, true) : NULL;
    g->workers = workers;
    snprintf(g->library, sizeof g->library, "oneDNN %d.%d.%d (%s)%s", v->major, v->minor, v->patch,
             library_isa(isa), g->own ? ", own bf16 products" : "");
    g->stream = mem_new((size_t)workers, sizeof *g->stream, e);
    if (!g->stream)
        goto fail;
    s = (int)dnnl_engine_create(&g->engine, dnnl_cpu, 0);
    for (i = 0; i < workers && !s; i++)
        s = (int)dnnl_stream_create(&g->stream[i], g->engine, dnnl_stream_default_flags);
    if (s) {
        failed(e, "starting", s);
        goto fail;
    }
    if (gemm_shape(g, 64, 64, &probe, e))
        goto fail;
    *out = g;
    return 0;
fail:
    gemm_close(g);
    return -1;
}

static void shape_free(struct gemm_shape *s)
{
    int i;

    for (i = 0; s->slot && i < s->g->workers; i++) {
        struct slot *t = &s->slot[i];
        dnnl_memory_t all[] = {t->x, t->w, t->y, t->scratch, t->rows};
        size_t j;

        for (j = 0; j < sizeof all / sizeof *all; j++)
            if (all[j])
                dnnl_memory_destroy(all[j]);
        free(t->scratch_bytes);
    }
    if (s->product)
        dnnl_primitive_destroy(s->product);
    if (s->reorder)
        dnnl_primitive_destroy(s->reorder);
    free(s->slot);
    free(s);
}

void gemm_close(struct gemm *g)
{
    struct gemm_shape *s, *next;
    int i;

    if (!g)
        return;
    for (s = g->shapes; s; s = next) {
        next = s->next;
        shape_free(s);
    }
    for (i = 0; g->stream && i < g->workers; i++)
        if (g->stream[i])
            dnnl_stream_destroy(g->stream[i]);
    if (g->engine)
        dnnl_engine_destroy(g->engine);
    free(g->stream);
    free(g);
}

const char *gemm_library(const struct gemm *g)
{
    return g->library;
}

bool gemm_is_bf16(const struct gemm *g)
{
    return g->bf16;
}

bool gemm_parts(const struct gemm *g)
{
    return g->own != NULL;
}

static int slots_new(struct gemm_shape *s, desc x, desc_view w, desc y, desc rows, desc_view scratch,
                     struct err *e)
{
    size_t scratch_bytes = dnnl_memory_desc_get_size(scratch);
    dnnl_engine_t en = s->g->engine;
    int i, st = 0;

    s->slot = mem_new((size_t)s->g->workers, sizeof *s->slot, e);
    if (!s->slot)
        return -1;
    for (i = 0; i < s->g->workers && !st; i++) {
        struct slot *t = &s->slot[i];

        t->scratch_bytes = mem_new_aligned(scratch_bytes, 1, e);
        if (!t->scratch_bytes)
            return -1;
        st = (int)dnnl_memory_create(&t->x, DESC_VIEW(x), en, DNNL_MEMORY_NONE);
        st = st ? st : (int)dnnl_memory_create(&t->w, w, en, DNNL_MEMORY_NONE);
        st = st ? st : (int)dnnl_memory_create(&t->y, DESC_VIEW(y), en, DNNL_MEMORY_NONE);
        st = st ? st : (int)dnnl_memory_create(&t->rows, DESC_VIEW(rows), en, DNNL_MEMORY_NONE);
        st = st ? st : (int)dnnl_memory_create(&t->scratch, scratch, en, t->scratch_bytes);
    }
    return st ? failed(e, "creating memory objects", st) : 0;
}

static int shape_build(struct gemm_shape *s, struct err *e)
{
    dnnl_primitive_desc_t pd = NULL, rpd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_engine_t en = s->g->engine;
    const dnnl_data_type_t type = dnnl_f32;
    desc x = {0}, w = {0}, y = {0}, rows = {0};
    desc_view packed;
    int st, rc = -1;

    st = desc_strided(&x, GEMM_ROWS, s->k, type, s->k, 1);
    st = st ? st : desc_any(&w, s->k, s->n, type);
    st = st ? st : desc_strided(&y, GEMM_ROWS, s->n, dnnl_f32, s->n, 1);
    st = st ? st : desc_strided(&rows, s->k, s->n, type, 1, (int64_t)gemm_ld(s->k));
    st = st ? st : (int)dnnl_primitive_attr_create(&attr);
    st = st ? st : (int)dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    st = st ? st : matmul_pd(&pd, en, x, w, y, attr);
    st = st ? st : (int)dnnl_primitive_create(&s->product, pd);
    if (!st) {
        packed = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
        s->packed_bytes = dnnl_memory_desc_get_size(packed);
        st = (int)dnnl_reorder_primitive_desc_create(&rpd, DESC_VIEW(rows), en, packed, en, NULL);
        st = st ? st : (int)dnnl_primitive_create(&s->reorder, rpd);
    }
    if (st)
        failed(e, "creating an f32 product", st);
    else
        rc = slots_new(s, x, packed, y, rows, dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0),
                       e);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (rpd)
        dnnl_primitive_desc_destroy(rpd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    desc_free(&x);
    desc_free(&w);
    desc_free(&y);
    desc_free(&rows);
    return rc;
}

int gemm_shape(struct gemm *g, int k, int n, struct gemm_shape **out, struct err *e)
{
    struct gemm_shape *s;

    for (s = g->shapes; s; s = s->next)
        if (s->k == k && s->n == n) {
            *out = s;
            return 0;
        }
    s = mem_new(1, sizeof *s, e);
    if (!s)
        return -1;
    s->g = g;
    s->k = k;
    s->n = n;
    s->packed_bytes = g->own ? g->own->packed_bytes(k, n) : 0;
    if (!g->own && shape_build(s, e)) {
        shape_free(s);
        return -1;
    }
    s->next = g->shapes;
    g->shapes = s;
    *out = s;
    return 0;
}

size_t gemm_packed_bytes(const struct gemm_shape *s)
{
    return s->packed_bytes;
}

int gemm_strip(const struct gemm_shape *s)
{
    return s->g->own ? s->g->own->strip : s->n;
}

int gemm_pack(struct gemm_shape *s, int worker, const void *rows, int from, int n, void *packed)
{
    dnnl_exec_arg_t arg[2];
    struct slot *t;

    if (s->g->own) {
        s->g->own->pack(s->k, n, rows, gemm_ld(s->k),
                        (uint8_t *)packed + s->g->own->packed_bytes(s->k, from));
        return 0;
    }
    t = &s->slot[worker];
    arg[0] = (dnnl_exec_arg_t){DNNL_ARG_FROM, t->rows};
    arg[1] = (dnnl_exec_arg_t){DNNL_ARG_TO, t->w};

    if (dnnl_memory_set_data_handle(t->rows, (void *)(uintptr_t)rows) ||
        dnnl_memory_set_data_handle(t->w, packed))
        return -1;
    return dnnl_primitive_execute(s->reorder, s->g->stream[worker], 2, arg) ? -1 : 0;
}

int gemm_run(struct gemm_shape *s, int worker, const void *x, const void *packed, struct gemm_part part,
             float *y)
{
    dnnl_exec_arg_t arg[4];
    struct slot *t;

    if (s->g->own) {
        s->g->own->run(s->k, s->n, x, packed, part, y);
        return 0;
    }
    t = &s->slot[worker];
    arg[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, t->x};
    arg[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, t->w};
    arg[2] = (dnnl_exec_arg_t){DNNL_ARG_DST, t->y};
    arg[3] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, t->scratch};
    if (dnnl_memory_set_data_handle(t->x, (void *)(uintptr_t)x) ||
        dnnl_memory_set_data_handle(t->w, (void *)(uintptr_t)packed) || dnnl_memory_set_data_handle(t->y, y))
        return -1;
    return dnnl_primitive_execute(s->product, s->g->stream[worker], 4, arg) ? -1 : 0;
}
