/*
 * gguf_limits.c -- what llama.cpp does not take in the metadata and names of a file that is right in itself.
 * As of b11434: src/llama-model.cpp and src/models/. (What it does not take of any model: surgery/serving.h.)
 */
#include <stdio.h>

#include "model/container/gguf_own.h"

struct saying {
    void (*say)(void *ctx, const char *line);
    void *ctx;
};

static void say_if(const struct saying *s, bool wrong, const char *line)
{
    if (wrong)
        s->say(s->ctx, line);
}

void gguf_limits(const struct checkpoint *c, void (*say)(void *ctx, const char *line), void *ctx)
{
    const struct gguf_own *own = c->own;
    const struct saying s = {say, ctx};
    struct gguf_text arch = {"", 0};

    gguf_string(gguf_find(own->set.part, "general.architecture"), &arch);
    say_if(&s, gguf_is(&arch, "gptoss"),
           "llama.cpp does not know the architecture 'gptoss', which is Ollama's");
    say_if(&s, !gguf_is(&arch, "deepseek2") && gguf_rows(&own->set, "ffn_gate_up_exps.weight"),
           "llama.cpp takes gate and up of this architecture's experts as two tensors only");
    say_if(&s,
           gguf_is(&arch, "deepseek2") && gguf_rows(&own->set, "ffn_gate_inp.weight") &&
               !gguf_find(own->set.part, "deepseek2.expert_gating_func"),
           "the metadata do not say expert_gating_func: llama.cpp takes softmax");
}
