/*
 * test_sweep.c -- random small models of all families, observed by two makers of the same operations.
 *
 *     test_sweep [FIRST [LAST [DIR]]]
 *
 * Shape N is the configuration of a fixture with other sizes, the same on every machine: heads that are no
 * power of two, odd multiples, experts and widths that are no multiples of anything, as many experts chosen
 * as there are. tests/mkrandom gives it weights. With DIR they are left there, in a folder for each shape, to
 * look at.
 *
 * The reference is the CPU in f32. On a GPU (make check-gpu) its f32 and bf16 are compared with it, elsewhere
 * those of the plain instruction set, by each kind of sum of each layer, in the Euclidean norm:
 *
 * f32   sums of the same terms in another order: 1e-4, a hundred times what rounding gives in a few layers,
 * unless a token chose another expert, which among so many near ties one in a model may do. bf16  no farther
 * from f32 than three times the CPU's own bf16, or FLOOR, a few roundings.
 *
 * A GPU that has failed stays so for the process: the rest runs in a new one.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "tmp.h"

#include <cjson/cJSON.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/isa.h"
#include "base/json.h"
#include "base/mem.h"
#include "observe/observe.h"

enum { SHAPES = 100, DOCS = 3, TOKENS = 240 };
static const int doc_tokens[DOCS] = {150, 7, 83}; /* long enough for packed attention, and not */
static const double floor_bf16 = 0.05, tol_f32 = 1e-4;

static const char *const fixtures[] = {
    "gptoss-bf16",      "deepseek-v2-groups", "qwen3-fp8",    "ernie4_5-bias",      "llama4-wrapper",
    "mixtral-window",   "glm4-mtp",           "olmoe-clip",   "qwen2-window",       "minimax-m2-fp8",
    "glm4-lite-flash",  "deepseek-v3-fp8",    "gptoss-mxfp4", "qwen3-yarn",         "deepseek-v2-greedy",
    "deepseek-v3-half", "ernie4_5-interval",  "llama4-flat",  "mixtral-fused",      "glm4-plain",
    "glm4-lite-types",  "qwen3-dynamic",      "llama4-split", "deepseek-v3-kimi-k2"};
enum { FIXTURES = sizeof fixtures / sizeof *fixtures };

/* ---- shapes ---- */

static uint64_t state;

/* from .. to; splitmix64 */
static int pick(int from, int to)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return from + (int)((z ^ (z >> 31)) % (uint64_t)(to - from + 1));
}

static cJSON *config; /* of the text model */

static double number(const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(config, key);

    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

/* Changes a number that is there. */
static bool set(const char *key, int value)
{
    if (number(key) <= 0)
        return false;
    cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(config, key), value);
    return true;
}

static void set_any(const char *const *key, int value)
{
    for (; *key; key++)
        set(*key, value);
}

static void flip(const char *key)
{
    if (cJSON_IsBool(cJSON_GetObjectItemCaseSensitive(config, key)))
        cJSON_ReplaceItemInObjectCaseSensitive(config, key, cJSON_CreateBool(pick(0, 1)));
}

/* Heads, and the width of the model where it is their multiple. */
static int choose_heads(int step)
{
    static const int some[] = {1, 2, 3, 5, 6, 7, 9, 12};
    bool latent = number("kv_lora_rank") > 0, part = number("partial_rotary_factor") > 0;
    int heads = some[pick(0, 7)], kv, dim, hidden;

    do
        kv = pick(1, heads);
    while (heads % kv);
    set("num_attention_heads", heads);
    set("num_key_value_heads", latent ? heads : kv);
    hidden = pick(1, 120);
    if (latent) {
        int nope = pick(1, 40), rope = 2 * pick(1, 17);

        set("qk_nope_head_dim", nope);
        set("qk_rope_head_dim", rope);
        set("head_dim", rope);
        set("qk_head_dim", nope + rope);
        set("v_head_dim", pick(1, 50));
        set("kv_lora_rank", pick(1, 70));
        set("q_lora_rank", pick(1, 70));
    } else {
        dim = part ? 8 * pick(1, 10) : 2 * pick(1, 45); /* an even number of them is rotated */
        set("rotary_dim", 2 * pick(1, dim / 2));
        if (!set("head_dim", dim))
            hidden = heads * (dim > 24 ? dim - dim % 4 - 12 : dim);
    }
    return (hidden + step - 1) / step * step;
}

static void choose_experts(void)
{
    static const char *const experts_key[] = {"num_experts", "num_local_experts", "n_routed_experts",
                                              "moe_num_experts", NULL};
    static const char *const topk_key[] = {"num_experts_per_tok", "experts_per_token", "moe_k", NULL};
    int groups = number("n_group") > 1 ? pick(2, 4) : 1, used = groups > 1 ? pick(1, groups) : 1;
    int size = groups > 1 ? pick(2, 5) : pick(1, 19), most = used * size;

    set("n_group", groups);
    set("topk_group", used);
    set_any(experts_key, groups * size);
    set_any(topk_key, pick(0, 3) ? pick(1, most < 8 ? most : 8) : most);
    cJSON_DeleteItemFromObjectCaseSensitive(config, "moe_capacity");
}

/* Configuration n, as text that the caller frees with cJSON_free. */
static char *shape(int n, const char *fixture)
{
    static const char *const widths[] = {"moe_intermediate_size", "intermediate_size",
                                         "intermediate_size_mlp", "shared_expert_intermediate_size"};
    static const char *const switches[] = {"attention_bias", "use_bias",    "qkv_bias",           "mlp_bias",
                                           "norm_topk_prob", "use_qk_norm", "tie_word_embeddings"};
    char path[256], *text;
    struct err e = {0};
    cJSON *root;
    int step;
    size_t i;

    snprintf(path, sizeof path, "tests/fixtures/%s/config.json", fixture);
    if (json_read(path, 1 << 20, &root, &e)) {
        printf("%s\n", e.msg);
        exit(1);
    }
    config = cJSON_GetObjectItemCaseSensitive(root, "text_config");
    config = config ? config : root;
    state = (uint64_t)n;
    step = strstr(fixture, "mxfp4") ? 32 : 1;
    set("hidden_size", choose_heads(step));
    choose_experts();
    for (i = 0; i < sizeof widths / sizeof *widths; i++)
        set(widths[i], step == 1 ? pick(1, 150) : step * pick(1, 5));
    for (i = 0; i < sizeof switches / sizeof *switches; i++)
        if (strcmp(switches[i], "use_qk_norm") != 0 || number("rotary_dim") <= 0) /* MiniMax always has it */
            flip(switches[i]);
    set("n_shared_experts", pick(1, 3));
    set("moe_num_shared_experts", pick(1, 3));
    set("sliding_window", pick(1, 40));
    set("attention_chunk_size", pick(1, 40));
    set("vocab_size", pick(33, 300));
    text = cJSON_Print(root);
    cJSON_Delete(root);
    return text;
}

/* ---- observing ---- */

struct sight {
    struct stats s;
    struct matrices m;
    bool there;
};

static void sight_free(struct sight *v)
{
    if (v->there) {
        stats_free(&v->s);
        matrices_free(&v->m);
    }
    v->there = false;
}

static void text(struct corpus *c, int vocab)
{
    static char *category[] = {"-"}, *file[] = {"sweep"};
    static int32_t ids[TOKENS];
    static struct doc doc[DOCS];
    int i, first = 0;

    for (i = 0; i < TOKENS; i++)
        ids[i] = pick(0, vocab - 1);
    for (i = 0; i < DOCS; first += doc_tokens[i++])
        doc[i] = (struct doc){.first = first, .n = doc_tokens[i], .half = i % 2, .line = i};
    *c = (struct corpus){.ids = ids,
                         .tokens = TOKENS,
                         .doc = doc,
                         .docs = DOCS,
                         .category = category,
                         .categories = 1,
                         .shard = 1,
                         .shards = 1,
                         .file = file,
                         .files = 1,
                         .chat = "-",
                         .digest = "0"};
}

static int observe(struct sight *v, const struct model *m, const struct corpus *c, const char *device,
                   enum precision p, enum isa most, struct err *e)
{
    static const struct pass_options one_pass;
    const struct engine_options o = {.device = device, .precision = p, .threads = 2};
    struct observe_more more = {.matrices = &v->m};
    struct engine *en;
    int rc;

    v->there = false;
    isa_limit(most);
    if (engine_open(&en, &o, e))
        return -1;
    rc = observe_corpus(&v->s, &more, en, m, c, 0, &one_pass, NULL, e);
    engine_close(en);
    v->there = rc == 0;
    return rc;
}

/* ---- comparing ---- */

/* Every kind of sum of a layer. */
enum { K_COLUMNS = M_COUNT + 1, K_PAIRS = 2, KINDS = K_COLUMNS + K_PAIRS + EXPERT_SUMS };

static const char *kind_name(int kind)
{
    if (kind == 0)
        return "n";
    if (kind <= M_COUNT)
        return statistic_column(kind - 1)->name;
    if (kind < K_COLUMNS + K_PAIRS)
        return kind == K_COLUMNS ? "weighted" : "gram";
    return statistic_tensor(PAIR_SUMS + kind - K_COLUMNS - K_PAIRS)->name;
}

/* One token decides the largest; what has signs cancels. */
static bool is_rough(int kind)
{
    return kind == M_MAX + 1 || kind == K_COLUMNS + 1 || kind == K_COLUMNS + K_PAIRS + SUM_OUTPUT ||
           kind == K_COLUMNS + K_PAIRS + SUM_OUTPUT_GATED;
}

/* Number i of a kind in a layer; false: there are no more. */
static bool value(const struct sight *v, int layer, int kind, int i, double *x)
{
    int experts = v->s.model.experts;

    if (kind < K_COLUMNS) {
        const struct expert_stats *c = stats_cell(&v->s, layer, 0, i % 2) + i / 2;

        if (i >= 2 * experts)
            return false;
        *x = kind == 0 ? (double)c->n : c->m[kind - 1];
    } else if (kind < K_COLUMNS + K_PAIRS) {
        if (i >= experts * experts)
            return false;
        *x = kind == K_COLUMNS ? matrices_pairs(&v->m, layer, 0)[i].weighted
                               : matrices_pairs(&v->m, layer, 0)[i].gram;
    } else {
        enum expert_sum sum = (enum expert_sum)(kind - K_COLUMNS - K_PAIRS);

        if (i >= experts * matrices_width(&v->m, sum))
            return false;
        *x = matrices_vector(&v->m, sum, layer)[i];
    }
    return true;
}

static double distance(const struct sight *a, const struct sight *b, int layer, int kind)
{
    double diff = 0, all = 0, x, y;
    int i;

    for (i = 0; value(a, layer, kind, i, &x) && value(b, layer, kind, i, &y); i++) {
        diff += (x - y) * (x - y);
        all += y * y;
    }
    return all > 0 ? sqrt(diff / all) : sqrt(diff);
}

/* Tokens of a layer that chose another expert, at least. */
static int strays(const struct sight *a, const struct sight *b, int layer)
{
    double n = 0, x, y;
    int i;

    for (i = 0; value(a, layer, 0, i, &x) && value(b, layer, 0, i, &y); i++)
        n += fabs(x - y);
    return (int)(n / 2);
}

/* near: what is compared with to know how far is too far; NULL: tol_f32. */
static void compare(const char *what, const struct sight *got, const struct sight *want,
                    const struct sight *near)
{
    double worst = 0;
    int l, kind, stray = 0;

    for (l = 0; l < want->s.n_layers; l++) {
        stray += strays(got, want, l);
        for (kind = 0; kind < KINDS; kind++) {
            double d = distance(got, want, l, kind), tol = stray == 1 ? .2 : tol_f32;

            if (near)
                tol = (is_rough(kind) ? 3 : 1) * (4 * distance(near, want, l, kind) + floor_bf16 +
                                                  2 * stray / (double)(TOKENS * want->s.model.topk));
            worst = fmax(worst, d / tol);
            CHECK_MSG(d <= tol, "%s, layer %d, %s: differs by %.3g of its norm, of which %.3g is allowed",
                      what, want->s.layer[l], kind_name(kind), d, tol);
        }
    }
    printf("  %s: %.2g of what is allowed\n", what, worst);
}

/* 1: the device has failed. */
static int check_shape(const struct model *m)
{
    const char *device = on_gpu() ? "cuda" : "cpu";
    enum isa most = on_gpu() ? isa_best() : ISA_PLAIN;
    struct sight want = {0}, half = {0}, got = {0};
    struct corpus c;
    struct err e = {0};
    enum isa best = isa_best();
    int p, rc = 0;

    text(&c, m->arch.vocab);
    CHECK_MSG(observe(&want, m, &c, "cpu", PREC_F32, best, &e) == 0 &&
                  observe(&half, m, &c, "cpu", PREC_BF16, best, &e) == 0,
              "the CPU: %s", e.msg);
    for (p = 0; p < 2 && want.there && half.there && rc == 0; p++) {
        rc = observe(&got, m, &c, device, p ? PREC_BF16 : PREC_F32, most, &e) != 0;
        CHECK_MSG(rc == 0, "%s, %s: %s", device, p ? "bf16" : "f32", e.msg);
        if (rc == 0)
            compare(p ? "bf16" : "f32", &got, &want, p ? &half : NULL);
        sight_free(&got);
    }
    isa_limit(ISA_COUNT - 1);
    sight_free(&want);
    sight_free(&half);
    return rc;
}

/* ---- all of them ---- */

static int run(char *command)
{
    int status = command ? system(command) : -1;

    free(command);
    return status;
}

/* Beside this program is mkrandom, in `folder`. keep: a folder, or NULL. 1: the device has failed. */
static int run_shape(const char *folder, int n, const char *keep)
{
    const char *fixture = fixtures[n % FIXTURES];
    struct err e = {0};
    char *dir = mem_printf(&e, "%s/%d", keep ? keep : tmp_dir, n), *json = shape(n, fixture);
    struct model m;
    int rc = 0;

    printf("shape %d, of %s\n", n, fixture);
    fflush(stdout);
    put_tmp("config.json", json);
    cJSON_free(json);
    if (run(mem_printf(&e, "'%s/mkrandom' threads=1 gain=2 '%s' '%s'", folder, in_tmp("config.json"), dir)) ||
        model_open(&m, dir, NULL, &e)) {
        CHECK_MSG(0, "shape %d cannot be made: %s", n, e.msg);
    } else {
        rc = check_shape(&m);
        model_close(&m);
        CHECK(keep || run(mem_printf(&e, "rm -r '%s'", dir)) == 0);
    }
    free(dir);
    return rc;
}

static struct progress {
    int shape, passed, failed;
} * seen; /* shared with the child */

static _Noreturn void child(const char *folder, int n, int last, const char *keep)
{
    int rc = 0;

    for (; n <= last && rc == 0; n++) {
        int failed = check_failed;

        *seen = (struct progress){n, check_passed, check_failed + 1}; /* should it end here */
        rc = run_shape(folder, n, keep);
        if (check_failed > failed)
            printf("shape %d is made again by: test_sweep %d %d FOLDER\n", n, n, n);
        *seen = (struct progress){n, check_passed, check_failed};
    }
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 0, last = argc > 2 ? atoi(argv[2]) : argc > 1 ? n : SHAPES - 1;
    char *slash = strrchr(argv[0], '/');
    int status;

    if (!slash)
        CHECK_SKIP("run it by its path: mkrandom is beside it");
    *slash = '\0';
    tmp_open();
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (; seen != MAP_FAILED && n <= last; n = seen->shape + 1) {
        pid_t pid = fork();

        if (pid == 0)
            child(argv[0], n, last, argc > 3 ? argv[3] : NULL);
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            perror("test_sweep");
            return 1;
        }
        if (status)
            printf("shape %d ends the process, status %d\n", seen->shape, status);
        check_passed += seen->passed;
        check_failed += seen->failed;
    }
    CHECK_END();
}
