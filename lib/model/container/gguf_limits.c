/*
 * gguf_limits.c -- what llama.cpp does not take, or dies of, in a file that is right in itself. As of b11434:
 * src/llama-hparams.h, src/llama-model.cpp and src/models/.
 */
#include <stdio.h>

#include "model/container/gguf_own.h"

enum { MOST_EXPERTS = 1024, MOST_LAYERS = 512, LLAMA4_PERIOD = 4 };

struct saying {
    void (*say)(void *ctx, const char *line);
    void *ctx;
};

static void say_if(const struct saying *s, bool wrong, const char *line)
{
    if (wrong)
        s->say(s->ctx, line);
}

void gguf_limits(const struct checkpoint *c, const struct arch *a, void (*say)(void *ctx, const char *line),
                 void *ctx)
{
    const struct gguf_own *own = c->own;
    const struct saying s = {say, ctx};
    struct gguf_text arch = {"", 0};

    gguf_string(gguf_find(own->set.part, "general.architecture"), &arch);
    say_if(&s, a->experts > MOST_EXPERTS, "llama.cpp takes 1024 experts in a layer at most");
    say_if(&s, a->layers + a->mtp_layers > MOST_LAYERS, "llama.cpp takes 512 layers at most");
    say_if(&s, a->groups > 1 && a->topk_group >= a->groups,
           "llama.cpp ends itself where all groups of experts are used: expert_group_used_count must be less "
           "than "
           "expert_group_count");
    say_if(&s, a->groups > 1 && a->groups >= a->experts,
           "llama.cpp ends itself where there are as many groups as experts");
    say_if(&s, strcmp(a->family->name, "llama4") == 0 && a->layers < LLAMA4_PERIOD,
           "llama.cpp ends itself on a llama4 of fewer than 4 layers, none of which attends to everything");
    say_if(&s, gguf_is(&arch, "gptoss"),
           "llama.cpp does not know the architecture 'gptoss', which is Ollama's");
    say_if(&s, !gguf_is(&arch, "deepseek2") && gguf_rows(&own->set, "ffn_gate_up_exps.weight"),
           "llama.cpp takes gate and up of this architecture's experts as two tensors only");
    say_if(&s,
           gguf_is(&arch, "deepseek2") && gguf_rows(&own->set, "ffn_gate_inp.weight") &&
               !gguf_find(own->set.part, "deepseek2.expert_gating_func"),
           "the metadata do not say expert_gating_func: llama.cpp takes softmax");
}
