/*
 * mkrandom.c -- writes a checkpoint of random weights for a config.json: any family, any shape, full size.
 *
 *     mkrandom [KEY=VALUE...] CONFIG DIR
 *
 * layers=N        so many layers (lists with an entry for each layer are cut)
 * layout=NAME     split, fused, mxfp4 or fp8; default: what the configuration says, else split where the
 *                 family has that
 * shard=SIZE      of a file, about (5GB)
 * threads=N       all processors; the bytes do not depend on it
 * gain=N          2^N times the deviation everywhere but in the embeddings: all of a small model matters
 * sparse=1        no values: files with a hole in place of the data
 * KEY=JSON        changes a value of CONFIG that is there, or adds one
 *
 * tests/shapes has configurations of released models. Values are normal, norms are 1, MXFP4 blocks random
 * with three scales, FP8 codes within a factor of 16: a forward pass stays finite, and every expert gets its
 * share of the tokens. A value depends on its tensor's name and its place in it only. MTP layers and the
 * other parts of a multimodal model are not written.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/num.h"
#include "base/thread.h"
#include "model/slots.h"
#include "quant/bf16.h"

enum { BLOCK = 8 << 20, TABLE = 4096 };

struct dims {
    int rank;
    uint64_t d[4];
};
#define DIMS(...)                                                                                            \
    (struct dims)                                                                                            \
    {                                                                                                        \
        (int)(sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)),                                         \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
#define N(x) ((uint64_t)(x))

/* A piece of a tensor: one task. */
struct task {
    const struct tensor *t;
    uint64_t from, n;
    size_t nth; /* in its shard */
};

static struct {
    int64_t layers, threads, sparse, gain;
    uint64_t shard;
    const char *layout, *dir;
} o = {.shard = UINT64_C(5000000000)};
static struct err err;
static struct model m; /* as much of it as its slots ask for */
enum { FP8_BLOCK = 128 };
static struct format_claim coded; /* the format of the experts, of FP8 that of most linear maps */
static bool mxfp4;                /* the experts are */
static bool fp8;                  /* linear maps but for the router and the head, whose experts are split */
static struct tensor *tensor;
static size_t n_tensors, cap_tensors;
static struct task *tasks;
static size_t n_tasks, cap_tasks;
static int *fd; /* [shards] */
static int shards;
static uint16_t normal[TABLE];
static unsigned char **buffer; /* [threads][BLOCK] */

static _Noreturn void fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("mkrandom: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

/* A library call that returns -1 or NULL. */
static void must(bool good)
{
    if (!good)
        fail("%s", err.msg);
}

/* ---- config.json ---- */

static cJSON *replace(cJSON *in, const char *key, cJSON *value)
{
    must(value);
    if (cJSON_GetObjectItemCaseSensitive(in, key))
        cJSON_ReplaceItemInObjectCaseSensitive(in, key, value);
    else
        cJSON_AddItemToObject(in, key, value);
    return value;
}

static void cut_layers(cJSON *text)
{
    const cJSON *have = cJSON_GetObjectItemCaseSensitive(text, "num_hidden_layers");
    cJSON *v;

    if (!o.layers)
        return;
    if (!cJSON_IsNumber(have))
        fail("num_hidden_layers is missing");
    cJSON_ArrayForEach(v, text)
    {
        if (!cJSON_IsArray(v) || cJSON_GetArraySize(v) != have->valueint)
            continue;
        while (cJSON_GetArraySize(v) > o.layers)
            cJSON_DeleteItemFromArray(v, cJSON_GetArraySize(v) - 1);
    }
    replace(text, "num_hidden_layers", cJSON_CreateNumber((double)o.layers));
}

/* Sets m.layout, and a quantization_config that fits. */
static void choose_layout(cJSON *root)
{
    const struct family *f = m.arch.family;
    bool says = m.arch.claim[0].format->coding == CODING_MXFP4, own = f->fused_layout == EXPERTS_INTERLEAVED;
    cJSON *q;

    fp8 = o.layout ? strcmp(o.layout, "fp8") == 0 : m.arch.claim[0].format->coding == CODING_E4M3;
    mxfp4 = o.layout ? strcmp(o.layout, "mxfp4") == 0 : says;
    m.layout = mxfp4 && !own ? EXPERTS_SPLIT : f->fused_layout;
    if (!mxfp4 && f->expert_gate && !(o.layout && strcmp(o.layout, "fused") == 0))
        m.layout = EXPERTS_SPLIT;
    if (((o.layout && strcmp(o.layout, "split") == 0) || fp8) && m.layout != EXPERTS_SPLIT)
        fail("%s is never split", f->title);
    m.ffn_module = m.layout == EXPERTS_FUSED && f->fused_module ? f->fused_module : f->ffn_module;
    if (mxfp4 && (m.arch.hidden % 32 || m.arch.inter % 32))
        fail("MXFP4 needs sizes that are multiples of 32");
    coded = m.arch.claim[0];
    if ((mxfp4 && says) || (fp8 && coded.format->coding == CODING_E4M3))
        return;
    cJSON_DeleteItemFromObjectCaseSensitive(root, "quantization_config");
    if (mxfp4 || fp8) {
        struct format_claim claim[MAX_CLAIMS];

        q = cJSON_AddObjectToObject(root, "quantization_config");
        must(q);
        replace(q, "quant_method", cJSON_CreateString(fp8 ? "fp8" : own ? "mxfp4" : "compressed-tensors"));
        if (fp8)
            replace(q, "weight_block_size", cJSON_CreateIntArray((const int[]){FP8_BLOCK, FP8_BLOCK}, 2));
        else if (!own)
            replace(q, "format", cJSON_CreateString("mxfp4-pack-quantized"));
        format_claims(q, claim);
        coded = claim[0];
    }
}

static void read_config(const char *path, char **edit, int edits)
{
    cJSON *root, *text;
    char *out, *where;
    int i;

    must(json_read(path, 1 << 24, &root, &err) == 0);
    text = cJSON_GetObjectItemCaseSensitive(root, "text_config");
    if (!cJSON_IsObject(text))
        text = root;
    cut_layers(text);
    for (i = 0; i < edits; i++) {
        char *eq = strchr(edit[i], '=');
        cJSON *value;

        must(json_parse(eq + 1, strlen(eq + 1), edit[i], &value, &err) == 0);
        *eq = '\0';
        replace(text, edit[i], value);
    }
    must(arch_read(&m.arch, root, path, NULL, &err) == 0);
    m.arch.prefix = text == root ? "" : "language_model.";
    choose_layout(root);
    out = cJSON_Print(root);
    where = path_join(o.dir, "config.json", &err);
    must(out && where && file_write(where, out, strlen(out), false, &err) == 0);
    cJSON_free(out);
    free(where);
    cJSON_Delete(root);
}

/* ---- which tensors ---- */

static void add(enum dtype type, struct dims d, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void add(enum dtype type, struct dims d, const char *fmt, ...)
{
    char name[300];
    struct tensor *t;
    va_list ap;
    int i;

    i = snprintf(name, sizeof name, "%s", m.arch.prefix);
    va_start(ap, fmt);
    vsnprintf(name + i, sizeof name - (size_t)i, fmt, ap);
    va_end(ap);
    must(mem_grow(&tensor, &cap_tensors, n_tensors + 1, sizeof *tensor, &err) == 0);
    t = &tensor[n_tensors++];
    *t = (struct tensor){.name = mem_strdup(name, &err), .dtype = type, .rank = d.rank};
    must(t->name);
    t->size = dtype_bytes(type);
    for (i = 0; i < d.rank; i++) {
        t->shape[i] = d.d[i];
        if (!mul_u64(t->size, d.d[i], &t->size))
            fail("'%s' is too large", name);
    }
}

/* The pieces of a map in the format `coded`; experts 0: it is not stacked with others. */
static void add_coded(const char *base, const struct slot *s, uint64_t experts)
{
    const struct piece *p;

    FOR_PIECES(p, coded.format)
    {
        uint64_t shape[PIECE_DIMS];
        struct dims d = {.rank = 0};
        int i, rank = piece_shape(p, coded.block, N(s->out), N(s->in), false, shape);

        if (!piece_suffix(p, experts > 0))
            continue;
        if (experts)
            d.d[d.rank++] = experts;
        for (i = 0; i < rank; i++)
            d.d[d.rank++] = shape[i];
        add(p->dtypes & DT_BIT(DT_F32) ? DT_F32 : piece_dtype(p), d, "%s%s%s", base, s->name,
            piece_suffix(p, experts > 0));
    }
}

/* A matrix that is not stacked with others. */
static void add_matrix(const char *base, const struct slot *s)
{
    bool expert = mxfp4 && s->role == ROLE_EXPERT;

    if (expert || (fp8 && s->linear && s->id != SLOT_ROUTER && s->id != SLOT_HEAD))
        add_coded(base, s, 0);
    else if (!s->optional)
        add(DT_BF16, DIMS(N(s->out), N(s->in)), "%s%s.weight", base, s->name);
    if (s->bias && !expert)
        add(DT_BF16, DIMS(N(s->out)), "%s%s.bias", base, s->name);
}

static void add_each(const char *base, const struct slot *s)
{
    struct slot one = *s;
    int j;

    for (j = 0; j < m.arch.experts; j++) {
        snprintf(one.name, sizeof one.name, s->name, j);
        add_matrix(base, &one);
    }
}

static void add_stacked(const char *base, const struct slot *s)
{
    uint64_t e = N(m.arch.experts), out = N(s->out), in = N(s->in);

    if (mxfp4) {
        add_coded(base, s, e);
    } else if (m.layout == EXPERTS_FUSED) {
        add(DT_BF16, DIMS(e, out, in), "%s%s", base, s->name);
    } else {
        add(DT_BF16, DIMS(e, in, out), "%s%s", base, s->name);
    }
    if (s->bias)
        add(DT_BF16, DIMS(e, out), "%s%s_bias", base, s->name);
}

static void add_slots(const char *base, const struct slot *s, int n)
{
    for (; n-- > 0; s++) {
        if (s->role == ROLE_EXPERT)
            add_each(base, s);
        else if (s->role == ROLE_EXPERTS)
            add_stacked(base, s);
        else if (s->in)
            add_matrix(base, s);
        else
            add(s->id == SLOT_CORRECTION ? DT_F32 : DT_BF16, s->row ? DIMS(1, N(s->out)) : DIMS(N(s->out)),
                "%s%s", base, s->name);
    }
}

static void add_all(void)
{
    struct slot s[LAYER_SLOTS];
    char base[40];
    int i;

    for (i = 0; i < m.arch.layers; i++) {
        snprintf(base, sizeof base, "model.layers.%d.", i);
        add_slots(base, s, layer_slots(&m, i, s));
    }
    add_slots("", s, model_slots(&m, s));
}

/* ---- values ---- */

/* Quantiles of the normal distribution by Newton's method, as bf16. */
static void make_table(void)
{
    int i;

    for (i = 0; i < TABLE; i++) {
        double p = (i + .5) / TABLE, x = 0;
        int k;

        for (k = 0; k < 60; k++)
            x -= (.5 * erfc(-x / sqrt(2)) - p) / fmax(exp(-x * x / 2) / sqrt(2 * acos(-1)), 1e-3);
        normal[i] = f32_to_bf16((float)(.02 * x));
    }
}

/* The n-th number of a stream (splitmix64: Steele, Lea, Flood 2014). */
static uint64_t random_at(uint64_t stream, uint64_t n)
{
    uint64_t z = stream + n * UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t stream_of(const char *name)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(1099511628211);
    return random_at(h, 1);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && strcmp(s + n - k, end) == 0;
}

/*
 * Powers of two between a tensor's deviation and 0.02: what is added to the residual stream is small beside
 * the embeddings. Otherwise attention, which averages, would make all tokens alike layer by layer, and all
 * would choose the same experts.
 */
static int scale_of(const char *name)
{
    if (ends_with(name, "embed_tokens.weight"))
        return 6;
    if (o.gain)
        return (int)o.gain;
    return strstr(name, ".o_proj.") || strstr(name, ".down_proj") || strstr(name, ".w2.") ? -3 : 0;
}

/* n bytes of t from byte `from` on, in words of 8: `from` is a multiple of 8, dst has room for a whole word
 * at the end. */
static void make_values(const struct tensor *t, uint64_t from, uint64_t n, unsigned char *dst)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t shift = (uint64_t)scale_of(t->name);
    const uint64_t exponents = shift * UINT64_C(0x0080008000800080), scales = (119 + shift) * ones;
    uint64_t stream = stream_of(t->name), i;
    bool norm = ends_with(t->name, "norm.weight");
    bool scale = ends_with(t->name, "_scales") || ends_with(t->name, ".weight_scale") ||
                 ends_with(t->name, ".weight_scale_inv");

    for (i = 0; i < n; i += 8) {
        uint64_t r = random_at(stream, (from + i) / 8), v = r;

        if (norm)
            v = UINT64_C(0x3f803f803f803f80);
        else if (scale && t->dtype == DT_U8) /* the middle one of three twice as often */
            v = scales + (r & ones) + (r >> 1 & ones);
        else if (t->dtype == DT_F8_E4M3) /* magnitudes 1/4 to 15/4 */
            v = (r & 0x9f * ones) + 0x28 * ones;
        else if (scale) /* 2^-7 to 2^-6 */
            v = (r & UINT64_C(0x007fffff007fffff)) + (120 + shift) * UINT64_C(0x0080000000800000);
        else if (t->dtype == DT_F32)
            v = N(normal[r % TABLE]) << 16 | N(normal[(r >> 32) % TABLE]) << 48;
        else if (t->dtype == DT_BF16)
            v = exponents + (N(normal[r % TABLE]) | N(normal[(r >> 16) % TABLE]) << 16 |
                             N(normal[(r >> 32) % TABLE]) << 32 | N(normal[r >> 52]) << 48);
        memcpy(dst + i, &v, 8);
    }
}

static void write_task(void *ctx, long nth, int worker)
{
    const struct task *k = &tasks[nth];
    unsigned char *p = buffer[worker];
    uint64_t done = 0;

    (void)ctx;
    make_values(k->t, k->from, k->n, p);
    while (done < k->n) {
        ssize_t w =
            pwrite(fd[k->t->shard], p + done, (size_t)(k->n - done), (off_t)(k->t->begin + k->from + done));

        if (w <= 0 && errno != EINTR)
            fail("cannot write to '%s': %s", o.dir, strerror(errno));
        done += w > 0 ? (uint64_t)w : 0;
    }
}

/* ---- files ---- */

static void place(void)
{
    uint64_t at = 0;
    size_t i;

    for (i = 0; i < n_tensors; i++) {
        if (at > 0 && at + tensor[i].size > o.shard) {
            shards++;
            at = 0;
        }
        tensor[i].shard = shards;
        at += tensor[i].size;
    }
    shards++;
}

static void shard_name(char name[64], int shard)
{
    if (shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05d-of-%05d.safetensors", shard + 1, shards);
}

/* The tensors first .. first+n-1 are one file: its header, its size, its tasks. */
static void begin_shard(int shard, size_t first, size_t n)
{
    static const char *const key[] = {"format"}, *const value[] = {"pt"};
    size_t header_bytes, i, nth = 0;
    char name[64], *header, *path;
    uint64_t data_bytes, from;

    must(st_header(tensor + first, n, key, value, 1, &header, &header_bytes, &data_bytes, &err) == 0);
    shard_name(name, shard);
    path = path_join(o.dir, name, &err);
    must(path);
    fd[shard] = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd[shard] < 0 || pwrite(fd[shard], header, header_bytes, 0) != (ssize_t)header_bytes ||
        ftruncate(fd[shard], (off_t)(header_bytes + data_bytes)))
        fail("cannot write '%s': %s", path, strerror(errno));
    free(header);
    free(path);
    for (i = first; i < first + n; i++)
        for (from = 0; from < tensor[i].size && !o.sparse; from += BLOCK) {
            uint64_t left = tensor[i].size - from;

            must(mem_grow(&tasks, &cap_tasks, n_tasks + 1, sizeof *tasks, &err) == 0);
            tasks[n_tasks++] = (struct task){&tensor[i], from, left < BLOCK ? left : BLOCK, nth++};
        }
}

static int by_turns(const void *x, const void *y)
{
    const struct task *p = x, *q = y;

    if (p->nth != q->nth)
        return p->nth < q->nth ? -1 : 1;
    return p->t->shard - q->t->shard;
}

static void write_index(void)
{
    struct str s = {0};
    uint64_t total = 0;
    char name[64], *path;
    size_t i;

    for (i = 0; i < n_tensors; i++)
        total += tensor[i].size;
    str_addf(&s, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
             (unsigned long long)total);
    for (i = 0; i < n_tensors; i++) {
        shard_name(name, tensor[i].shard);
        str_addf(&s, "%s\n    \"%s\": \"%s\"", i ? "," : "", tensor[i].name, name);
    }
    str_adds(&s, "\n  }\n}\n");
    path = path_join(o.dir, "model.safetensors.index.json", &err);
    must(path && str_ok(&s, &err) == 0 && file_write(path, s.p, s.n, false, &err) == 0);
    free(path);
    str_free(&s);
}

/* Neighbouring tasks are of different files, since a file system lets one thread at a time write to each. */
static void write_all(void)
{
    struct pool *pool;
    size_t first, i;
    int s, threads;

    place();
    fd = mem_new((size_t)shards, sizeof *fd, &err);
    must(fd);
    for (first = 0; first < n_tensors; first = i) {
        for (i = first; i < n_tensors && tensor[i].shard == tensor[first].shard; i++)
            ;
        begin_shard(tensor[first].shard, first, i - first);
    }
    if (n_tasks)
        qsort(tasks, n_tasks, sizeof *tasks, by_turns);
    must(pool_open(&pool, (int)o.threads, NULL, &err) == 0);
    threads = pool_threads(pool);
    buffer = mem_new((size_t)threads, sizeof *buffer, &err);
    must(buffer);
    for (s = 0; s < threads; s++)
        must((buffer[s] = mem_new_aligned(BLOCK + 8, 1, &err)) != NULL);
    pool_run(pool, (long)n_tasks, write_task, NULL);
    pool_close(pool);
    for (s = 0; s < threads; s++)
        free(buffer[s]);
    for (s = 0; s < shards; s++)
        if (close(fd[s]))
            fail("cannot write to '%s': %s", o.dir, strerror(errno));
    if (shards > 1)
        write_index();
}

/* ---- command line ---- */

/* Whether it is an option of ours; otherwise it is a change of the configuration. */
static bool set(const char *arg)
{
    const struct {
        const char *key;
        int64_t *number;
    } keys[] = {{"layers=", &o.layers}, {"threads=", &o.threads}, {"sparse=", &o.sparse}, {"gain=", &o.gain}};
    size_t i;

    for (i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strncmp(arg, keys[i].key, strlen(keys[i].key)) == 0) {
            must(num_i64(arg + strlen(keys[i].key), arg, 0, 4096, keys[i].number, &err) == 0);
            return true;
        }
    if (strncmp(arg, "shard=", 6) == 0) {
        must(num_size(arg + 6, arg, &o.shard, &err) == 0);
    } else if (strncmp(arg, "layout=", 7) == 0) {
        o.layout = arg + 7;
        if (strcmp(o.layout, "split") != 0 && strcmp(o.layout, "fused") != 0 &&
            strcmp(o.layout, "mxfp4") != 0 && strcmp(o.layout, "fp8") != 0)
            fail("'%s' is not split, fused, mxfp4 or fp8", arg);
    } else {
        if (!strchr(arg, '='))
            fail("'%s' is not KEY=VALUE", arg);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    int i, edits = 0;
    size_t k;

    if (argc < 3)
        fail("usage: mkrandom [KEY=VALUE...] CONFIG DIR");
    for (i = 1; i < argc - 2; i++)
        if (!set(argv[i]))
            argv[1 + edits++] = argv[i];
    o.dir = argv[argc - 1];
    if (mkdir(o.dir, 0777))
        fail("cannot create '%s': %s", o.dir, strerror(errno));
    read_config(argv[argc - 2], argv + 1, edits);
    make_table();
    add_all();
    write_all();
    for (k = 0; k < n_tensors; k++)
        free((char *)tensor[k].name);
    free(tensor);
    free(tasks);
    free(fd);
    free(buffer);
    arch_free(&m.arch);
    return 0;
}
