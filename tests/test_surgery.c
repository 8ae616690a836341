/*
 * test_surgery.c -- surgery against the source model, tensor by tensor and through the expert map only;
 * sizes foretold against sizes written; config.json; the record of which experts are left.
 */
#include "tmp.h"

#include "surgery/config_edit.h"
#include "surgery/prune.h"

static uint32_t rng_state = 12345;
static uint32_t rng(void)
{
    rng_state = rng_state * 1664525 + 1013904223;
    return rng_state >> 8;
}

static int open_model(struct model *m, const char *dir)
{
    struct err e = {0};
    int r = model_open(m, dir, NULL, &e);

    CHECK_MSG(r == 0, "%s", e.msg);
    return r;
}

/* keep random experts in each layer. */
static void make_plan(struct plan *p, const struct model *m, int keep)
{
    struct model_id id = {
        .layers = m->arch.layers, .experts = m->arch.experts, .topk = m->arch.topk, .hidden = m->arch.hidden};
    int layer[64], i, j, left;
    struct err e = {0};

    snprintf(id.family, sizeof id.family, "%s", m->arch.family->name);
    CHECK(model_digest(m, id.digest, &e) == 0);
    for (i = 0; i < m->arch.layers; i++)
        layer[i] = i;
    CHECK(plan_new(p, &id, "test\tkeep=some", layer, m->arch.layers, &e) == 0);
    for (i = 0; i < m->arch.layers; i++) {
        struct plan_row *row = plan_rows(p, i);

        for (j = 0, left = keep; j < m->arch.experts; j++) {
            row[j].keep = (int)(rng() % (uint32_t)(m->arch.experts - j)) < left;
            left -= row[j].keep;
        }
    }
}

static bool same_rows(const struct model *a, const struct tensor *ta, uint64_t ra, const struct model *b,
                      const struct tensor *tb, uint64_t rb, uint64_t bytes)
{
    unsigned char *x = malloc(bytes), *y = malloc(bytes);
    struct err e = {0};
    bool same = ta && tb && x && y && checkpoint_read(&a->ckpt, ta, ra * bytes, x, bytes, &e) == 0 &&
                checkpoint_read(&b->ckpt, tb, rb * bytes, y, bytes, &e) == 0 && memcmp(x, y, bytes) == 0;

    free(x);
    free(y);
    return same;
}

/* Expert `old` of a layer is now expert `number`, in all its pieces. */
static int compare_expert(const struct model *a, const struct model *b, int layer, int old, int number)
{
    bool fused = a->layout != EXPERTS_SPLIT;
    struct linear_tensors la, lb;
    int wrong = 0, pieces = 0, i;
    enum part part;

    for (part = PART_GATE; part <= PART_GATE_UP; part++) {
        const struct tensor *bias[2] = {NULL, NULL};
        bool in_a = model_expert_linear(a, layer, old, part, &la),
             in_b = model_expert_linear(b, layer, number, part, &lb);

        if (in_a != in_b)
            wrong++;
        if (!in_a || !in_b)
            continue;
        if (a->arch.family->expert_bias) {
            bias[0] = model_expert_bias(a, layer, part);
            bias[1] = model_expert_bias(b, layer, part);
        }
        for (i = 0; i <= STORED_PIECES; i++) {
            const struct tensor *ta = i < STORED_PIECES ? la.piece[i] : bias[0];
            const struct tensor *tb = i < STORED_PIECES ? lb.piece[i] : bias[1];

            pieces += ta || tb;
            wrong += !ta != !tb;
            if (ta && tb)
                wrong += !same_rows(a, ta, fused ? (uint64_t)old : 0, b, tb, fused ? (uint64_t)number : 0,
                                    fused ? ta->size / (uint64_t)a->arch.experts : ta->size);
        }
    }
    return pieces ? wrong : 1;
}

static void compare(const struct model *a, const struct model *b, const struct plan *p)
{
    const char *router = a->arch.family->router;
    int i, j, number, wrong = 0;
    char name[64];
    size_t k;

    for (i = 0; i < a->arch.layers; i++) {
        snprintf(name, sizeof name, "mlp.%s.weight", router);
        for (j = number = 0; j < a->arch.experts; j++) {
            if (!plan_rows(p, i)[j].keep)
                continue;
            wrong += compare_expert(a, b, i, j, number);
            wrong += !same_rows(a, model_tensor(a, i, name), (uint64_t)j, b, model_tensor(b, i, name),
                                (uint64_t)number, (uint64_t)a->arch.hidden * 2);
            number++;
        }
        CHECK(number == b->arch.experts);
    }
    for (k = 0; k < a->ckpt.n; k++)
        if (a->role[k].role == ROLE_OTHER)
            wrong +=
                !same_rows(a, a->ckpt.tensor[k], 0, b, checkpoint_find(&b->ckpt, a->ckpt.tensor[k]->name), 0,
                           a->ckpt.tensor[k]->size);
    CHECK_MSG(wrong == 0, "%d pieces of '%s' are not the source's", wrong, b->dir);
}

/* Overwrites one byte of the last tensor of a file. */
static void damage(const struct model *b)
{
    FILE *o = fopen(b->ckpt.shard[0].file->path, "r+b");
    int c;

    CHECK(o && fseek(o, -1, SEEK_END) == 0);
    c = fgetc(o);
    CHECK(fseek(o, -1, SEEK_END) == 0 && fputc(c ^ 1, o) != EOF && fclose(o) == 0);
}

static void test_prune(const char *dir, int keep)
{
    struct prune_options o = {0}; /* compared here first, then by prune_verify */
    struct prune_report r;
    struct model m, cut;
    struct plan p;
    struct err e = {0};
    uint64_t bytes = 0, plan_bytes = 0, verified;
    const char *out = anew_dir("cut");

    if (open_model(&m, dir))
        return;
    make_plan(&p, &m, keep);
    if (prune_model(&m, &p, out, &o, &r, &e))
        CHECK_MSG(false, "%s", e.msg);
    CHECK(r.experts_after == keep && r.experts_before == m.arch.experts);
    CHECK(r.topk_after == (keep < m.arch.topk ? keep : m.arch.topk));
    CHECK(prune_size(&m, keep, &bytes, &e) == 0 && prune_plan_size(&m, &p, &plan_bytes, &e) == 0);
    CHECK(plan_bytes == r.bytes_after);
    if (m.layout != EXPERTS_SPLIT)
        CHECK_MSG(bytes == r.bytes_after, "foretold %llu, written %llu", (unsigned long long)bytes,
                  (unsigned long long)r.bytes_after);
    if (open_model(&cut, out) == 0) {
        uint64_t sum = 0;
        int i;

        for (i = 0; i < cut.ckpt.shards; i++)
            sum += cut.ckpt.shard[i].file->size;
        CHECK(sum == r.bytes_after);
        compare(&m, &cut, &p);
        CHECK_MSG(prune_verify(&m, &p, out, &verified, &e) == 0, "%s", e.msg);
        CHECK(verified == r.tensor_bytes_after);
        damage(&cut);
        CHECK(prune_verify(&m, &p, out, &verified, &e) == -1 && strstr(e.msg, "differs at byte"));
        model_close(&cut);
    }
    plan_free(&p);
    model_close(&m);
}

/* The metadata of a model that was cut twice names experts by the first model's numbers. */
static void test_record(void)
{
    struct prune_options o = {0};
    struct prune_report r;
    struct model m, once;
    struct plan p, q;
    struct err e = {0};
    struct cut c;
    const char *out = anew_dir("once");
    char want[64] = "16;0:", *record;
    int j, k, n = 0;

    if (open_model(&m, "examples/tiny-gptoss"))
        return;
    make_plan(&p, &m, 12);
    CHECK(prune_model(&m, &p, out, &o, &r, &e) == 0);
    if (open_model(&once, out) == 0) {
        make_plan(&q, &once, 5);
        CHECK(cut_from_plan(&c, &once, &q, &e) == 0);
        record = cut_record(&c, &once, &e);
        CHECK(record != NULL);
        for (j = k = 0; j < 16; j++) {
            if (!plan_rows(&p, 0)[j].keep)
                continue;
            if (plan_rows(&q, 0)[k++].keep)
                snprintf(want + strlen(want), sizeof want - strlen(want), "%s%02d", n++ ? "," : "", j);
        }
        CHECK_MSG(record && strncmp(record, want, strlen(want)) == 0, "'%s' does not begin with '%s'", record,
                  want);
        free(record);
        cut_free(&c);
        plan_free(&q);
        model_close(&once);
    }
    plan_free(&p);
    model_close(&m);
}

/* config.json with its text replaced: what becomes of it when experts 0 and 2 of 16 stay in all layers. */
static void check_config(const struct model *m, const char *text, const char *want, const char *error)
{
    struct model fake = *m;
    struct err e = {0};
    struct plan p;
    struct cut c;
    char *got = NULL;
    size_t n;
    struct config_changes changes;
    int i, j, r;

    make_plan(&p, m, 16);
    for (i = 0; i < 4; i++)
        for (j = 0; j < 16; j++)
            plan_rows(&p, i)[j].keep = j == 0 || j == 2;
    CHECK(cut_from_plan(&c, m, &p, &e) == 0);
    fake.config_text = (char *)text;
    fake.config_n = strlen(text);
    r = config_cut(&fake, &c, &got, &n, &changes, &e);
    if (error)
        CHECK_MSG(r == -1 && strstr(e.msg, error), "'%s' does not say '%s'", e.msg, error);
    else if (r == 0)
        CHECK_STR(got, want);
    else
        CHECK_MSG(false, "%s", e.msg);
    free(got);
    cut_free(&c);
    plan_free(&p);
}

#define E(l, j) "\"model.layers." #l ".mlp.experts." #j ".up_proj\""
#define Q(list)                                                                                              \
    "{\"num_local_experts\": 16,\n \"quantization_config\": {\"ignore\": " list "}, \"x\": 1e-06}\n"
#define Q2(list)                                                                                             \
    "{\"num_local_experts\": 2,\n \"quantization_config\": {\"ignore\": " list "}, \"x\": 1e-06}\n"
#define CASE(a, b) check_config(m, Q(a), Q2(b), NULL)

#define KEEPS(a)        CASE("[\"" a "\"]", "[\"" a "\"]")
#define BECOMES(a, b)   CASE("[\"" a "\"]", "[\"" b "\"]")
#define GOES(a)         CASE("[\"" a "\"]", "[]")
#define REFUSED(a, why) check_config(m, Q("[\"" a "\"]"), NULL, why)
#define D               "\\\\." /* an escaped dot, escaped in JSON */

/* Experts 0 and 2 of 16 stay, as 0 and 1. */
static void test_patterns(const struct model *model)
{
    struct model all_alike = *model, *m = &all_alike;

    BECOMES("re:.*layers" D "1" D "mlp" D "experts" D "2" D ".*",
            "re:.*layers" D "1" D "mlp" D "experts" D "1" D ".*");
    GOES("re:.*layers" D "1" D "mlp" D "experts" D "3" D ".*");
    BECOMES("re:.*experts" D "2" D "up_proj$", "re:.*experts" D "1" D "up_proj$"); /* of all layers */
    GOES("re:.*experts" D "7$");
    BECOMES("re:.*experts.2.down_proj", "re:.*experts.1.down_proj");
    BECOMES("mlp.experts.2.up_proj", "mlp.experts.1.up_proj");
    BECOMES("model.layers.1.mlp.experts.2*", "model.layers.1.mlp.experts.1*");
    BECOMES("re:.*experts" D "2", "re:.*experts" D "1");
    BECOMES("re:(a|b.experts" D "2)", "re:(a|b.experts" D "1)");
    BECOMES("re:.*experts" D "0.*", "re:.*experts" D "0.*");
    KEEPS("re:.*experts" D "\\\\d+" D ".*");
    KEEPS("re:.*shared_experts" D "1" D ".*");
    KEEPS("re:.*layers" D "9" D "mlp" D "experts" D "2" D ".*");
    REFUSED("re:.*experts" D "[0-3]" D ".*", "not a plain one");
    REFUSED("re:.*experts" D "(1|2)" D ".*", "not a plain one");
    REFUSED("re:.*experts" D "(?:1|2)" D ".*", "not a plain one");
    REFUSED("re:.*experts" D "1\\\\d" D ".*", "not a plain one");
    REFUSED("re:.*experts" D "1?" D ".*", "not a plain one");
    REFUSED("re:.*experts" D "1*", "not a plain one");
    REFUSED("re:.*experts" D "1", "other numbers begin like it"); /* 10 to 15 */
    REFUSED("re:.*experts" D "1.*", "other numbers begin like it");
    REFUSED("model.layers.0.mlp.experts.1*", "other numbers begin like it");
    REFUSED("re:.*(experts" D "2|experts" D "3)" D "up", "several numbers");
}

#define WITH(n, rest)  "{\"num_local_experts\": " #n ", \"quantization_config\": {" rest "}}"
#define MAP_CASE(a, b) check_config(m, WITH(16, a), WITH(2, b), NULL)

static void test_maps(const struct model *m)
{
    MAP_CASE("\"quantized_layers\": {" E(0, 1) ": {\"a\": 1}, " E(0, 2) ": {\"a\": [2]},\n" E(1, 0) ": {} }",
             "\"quantized_layers\": { " E(0, 1) ": {\"a\": [2]},\n" E(1, 0) ": {} }");
    MAP_CASE("\"dynamic\": {\"lm_head\": 1, \"-:.*experts" D "3" D ".*\": {}, \"+:.*experts" D "2" D
             ".*\": {\"bits\": 8}}",
             "\"dynamic\": {\"lm_head\": 1, \"+:.*experts" D "1" D ".*\": {\"bits\": 8}}");
    MAP_CASE("\"extra_config\": {" E(2, 5) ": {\"bits\": 16}}, \"bits\": 4",
             "\"extra_config\": {}, \"bits\": 4");
    MAP_CASE("\"config_groups\": {\"g\": {\"targets\": [" E(2, 5) ", " E(2, 2) "]}}",
             "\"config_groups\": {\"g\": {\"targets\": [ " E(2, 1) "]}}");
    check_config(m, WITH(16, "\"ignore\": {" E(0, 1) ": 2}"), NULL, "no list or map of modules");
    check_config(m, WITH(16, "\"ignored\": [" E(0, 1) "]"), NULL, "no list or map of modules");
    check_config(m, WITH(16, "\"block\": " E(0, 1)), NULL, "no list or map of modules");
}

#undef CASE
#define CASE(a, b) check_config(&m, Q(a), Q2(b), NULL)

static void test_config(void)
{
    struct model m;

    if (open_model(&m, "examples/tiny-gptoss"))
        return;
    CASE("[]", "[]");
    CASE("[\"lm_head\", " E(0, 2) "]", "[\"lm_head\", " E(0, 1) "]");
    CASE("[" E(0, 1) "]", "[]");
    CASE("[" E(0, 1) " ,\n  " E(0, 0) "]", "[\n  " E(0, 0) "]");
    CASE("[" E(0, 1) ", " E(0, 3) ", " E(1, 2) ", \"a\"]", "[ " E(1, 1) ", \"a\"]");
    CASE("[ \"a\" , " E(0, 1) ", " E(0, 3) ", \"b\" ]", "[ \"a\", \"b\" ]");
    CASE("[\"a\", " E(3, 15) "]", "[\"a\"]");
    CASE("[" E(9, 3) ", \"shared_experts.1\"]", "[" E(9, 3) ", \"shared_experts.1\"]"); /* no layer 9 */
    CASE("[[" E(0, 3) "], {\"targets\": [" E(0, 2) ", \"Linear\"]}, 3]",
         "[[], {\"targets\": [" E(0, 1) ", \"Linear\"]}, 3]");
    CASE("[\"re:.*mlp.gate$\", \"re:.*experts.*\"]", "[\"re:.*mlp.gate$\", \"re:.*experts.*\"]");
    test_patterns(&m);
    test_maps(&m);
    check_config(&m, "{\"num_experts\": 16, \"num_local_experts\": 16, \"num_experts_per_tok\": 2}",
                 "{\"num_experts\": 2, \"num_local_experts\": 2, \"num_experts_per_tok\": 2}", NULL);
    m.arch.topk = 4; /* more than stay */
    check_config(&m, "{\"num_experts_per_tok\":4,\"experts_per_token\" : 4,\"num_local_experts\":16}",
                 "{\"num_experts_per_tok\":2,\"experts_per_token\" : 2,\"num_local_experts\":2}", NULL);
    m.arch.topk = 2;
    model_close(&m);
}

/* Keys of other families: capacities, layers that predict further tokens, a number where a bool is meant,
 * everything inside text_config. */
static void test_config_keys(void)
{
    struct family f;
    struct model m;

    if (open_model(&m, "examples/tiny-gptoss"))
        return;
    f = *m.arch.family;
    f.key_capacity = "capacity";
    f.key_mtp[0] = "mtp_a";
    f.key_mtp[1] = "mtp_b";
    f.temperature = true;
    m.arch.family = &f;
    check_config(&m, "{\"num_experts\": 16, \"capacity\": [ 16,16 ,\n 64], \"mtp_a\": 1, \"mtp_b\": 2}",
                 "{\"num_experts\": 2, \"capacity\": [ 2,2 ,\n 2], \"mtp_a\": 0, \"mtp_b\": 0}", NULL);
    check_config(&m, "{\"num_experts\": 16, \"capacity\": null, \"mtp_b\": null}",
                 "{\"num_experts\": 2, \"capacity\": null, \"mtp_b\": null}", NULL);
    check_config(&m, "{\"capacity\": [], \"attn_temperature_tuning\": 4, \"num_experts\": 16}",
                 "{\"capacity\": [], \"attn_temperature_tuning\": true, \"num_experts\": 2}", NULL);
    check_config(&m, "{\"attn_temperature_tuning\": 0.0}", "{\"attn_temperature_tuning\": false}", NULL);
    check_config(&m, "{\"attn_temperature_tuning\": false}", "{\"attn_temperature_tuning\": false}", NULL);
    m.arch.nested = true;
    check_config(
        &m, "{\"text_config\": {\"num_experts\": 16, \"quantization_config\": {\"ignore\": [" E(0, 2) "]}}}",
        "{\"text_config\": {\"num_experts\": 2, \"quantization_config\": {\"ignore\": [" E(0, 1) "]}}}",
        NULL);
    check_config(&m,
                 "{\"num_experts\": 16, \"text_config\": {\"num_experts\": 16, \"mtp_a\": 3, \"capacity\": "
                 "[16], \"attn_temperature_tuning\": 8192}}",
                 "{\"num_experts\": 16, \"text_config\": {\"num_experts\": 2, \"mtp_a\": 0, \"capacity\": "
                 "[2], \"attn_temperature_tuning\": true}}",
                 NULL);
    model_close(&m);
}

int main(void)
{
    const char *shared = shared_dir();
    char dir[300];

    tmp_open();
    test_prune("examples/tiny-gptoss", 12);
    test_prune("examples/tiny-gptoss", 1);
    test_prune("examples/tiny-gptoss", 16);
    test_prune("examples/tiny-qwen3", 12);
    test_prune("examples/tiny-qwen3", 16);
    snprintf(dir, sizeof dir, "%s/models/pico-gptoss", shared);
    if (path_is_dir(dir)) {
        test_prune(dir, 24);
        test_prune(dir, 7);
        snprintf(dir, sizeof dir, "%s/models/pico-qwen3", shared);
        test_prune(dir, 24);
    } else {
        printf("no reference data beside the checkout: sharded models not tested\n");
    }
    test_record();
    test_config();
    test_config_keys();
    CHECK_END();
}
