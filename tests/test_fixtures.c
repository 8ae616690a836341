/*
 * test_fixtures.c -- the model reader takes every checkpoint of tests/fixtures and understands its tensors.
 * What the forward pass makes of them is compared with their goldens elsewhere.
 */
#include <dirent.h>

#include "check.h"
#include "model/model.h"

static const char dir[] = "tests/fixtures";

static void test_open(const char *name)
{
    struct err e = {0};
    struct model m;
    char path[300];
    int i, layer = -1;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_MSG(model_open(&m, path, NULL, &e) == 0, "%s: %s", name, e.msg);
    if (e.kind)
        return;
    for (i = 0; i < m.arch.layers; i++)
        if (m.arch.layer[i].ffn == FFN_MOE)
            layer = i;
    CHECK_MSG(layer >= 0 && model_expert_bytes(&m, layer) > 0, "%s: experts without bytes", name);
    model_close(&m);
}

/* Its layers have experts where mlp_layer_types says so. */
static void test_mlp_layer_types(void)
{
    struct err e = {0};
    struct model m;

    CHECK_MSG(model_open(&m, "tests/fixtures/glm4-lite-types", NULL, &e) == 0, "%s", e.msg);
    if (e.kind)
        return;
    CHECK(m.arch.moe_layers == 2 && m.arch.layer[0].ffn == FFN_DENSE && m.arch.layer[1].ffn == FFN_MOE &&
          m.arch.layer[2].ffn == FFN_DENSE && m.arch.layer[3].ffn == FFN_MOE);
    CHECK(m.arch.groups == 4 && m.arch.topk_group == 2 && m.arch.gate_scale == 1.5);
    model_close(&m);
}

/* The attention scale grows by mscale_all_dim whatever the rope type: (8 + 8)^-0.5 * (0.1 ln 2.5 + 1)^2. */
static void test_latent_scale(void)
{
    struct err e = {0};
    struct model m;

    CHECK_MSG(model_open(&m, "tests/fixtures/deepseek-v3-half", NULL, &e) == 0, "%s", e.msg);
    if (e.kind)
        return;
    CHECK(m.arch.rope->type == ROPE_LINEAR && m.arch.rope->layout == ROPE_HALF);
    CHECK_NEAR(m.arch.layer->attn.scale, 0.2979135, 0, 1e-6);
    model_close(&m);
}

int main(void)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    int n = 0;

    if (!d) {
        printf("cannot read %s\n", dir);
        return 1;
    }
    while ((entry = readdir(d)))
        if (!strchr(entry->d_name, '.')) {
            test_open(entry->d_name);
            n++;
        }
    closedir(d);
    CHECK_MSG(n >= 24, "only %d fixtures", n);
    test_mlp_layer_types();
    test_latent_scale();
    CHECK_END();
}
