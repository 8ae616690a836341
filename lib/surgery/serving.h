/*
 * serving.h -- what servers make of a model, or of it with fewer experts: rules that were seen to hold, a row
 * each (serving_rules.c), with the release that they are of and where they stand.
 *
 *     struct serving s;
 *     if (serving_open(&s, &model, e)) ...
 *     n = serving_rules(&s, 24, SERVER_VLLM, rule);      rule[i]->grade, ->words, ->source
 *     serving_near(&s, 24, &below, &above);
 *
 * Nothing here is run: a server without a rule against it is one of which no obstacle is known.
 */
#ifndef MOE_SURGERY_SERVING_H
#define MOE_SURGERY_SERVING_H

#include "model/model.h"

enum server { SERVER_TRANSFORMERS, SERVER_VLLM, SERVER_SGLANG, SERVER_LLAMA_CPP, SERVER_OLLAMA, SERVERS };
const char *server_name(enum server s);

/* SERVING_FINE: good to know. SERVING_SLOWER: served, but with more time, memory or fewer devices than it
 * could be. SERVING_REFUSES: not served, or something else than the model is. */
enum serving_grade { SERVING_FINE, SERVING_SLOWER, SERVING_REFUSES };
const char *serving_grade_name(enum serving_grade g);

/* What is known of a model beside struct model. The model must stay open and where it is. */
struct serving {
    const struct model *m;
    bool used[MAX_CLAIMS]; /* is any linear map in this of arch.claim? */
    bool zeros;            /* packed integers of compressed-tensors have zero points */
    bool cut_tiles;        /* some FP8 matrix is whole blocks that share a scale and a part of one */
    bool nvfp4;            /* there are NVFP4 blocks of ggml */
    bool stale;            /* config.json has a key for the number of experts that says another one */
    bool autoround;        /* quant_method is auto-round */
    int mtp_experts; /* of the layers for multi-token prediction; 0: they have none, or there are none */
};

/* A row bites where all of it that is given holds. */
struct serving_rule {
    enum server server;
    enum serving_grade grade;
    const char *family; /* name in the table of families */
    const char *format; /* title of a format that some map has (quant/format.h) */
    bool gguf;          /* the model is a GGUF file; without it: whatever it lies in */
    /* keep: experts in each layer */
    bool (*when)(const struct serving *s, int keep, const struct serving_rule *r);
    int number;          /* when's */
    const int *numbers;  /* when's, ends with 0 */
    const char *words;   /* what happens */
    const char *release; /* of the server; NULL: not known */
    const char *source;  /* its file or issue; "seen": it was run */
};
const struct serving_rule *serving_rule_table(int *n);

int serving_open(struct serving *s, const struct model *m, struct err *e);

/* Is the server one for what the model lies in? GGUF files are for llama.cpp and what is made of it; what is
 * in a folder is for all, by their converters. */
bool serving_takes(const struct serving *s, enum server server);

enum { SERVING_RULES = 64 };
/* The rules against the model with keep of its experts in each layer (1 to all; that the router's groups
 * allow it is not asked), in the order of the table. Returns how many. */
int serving_rules(const struct serving *s, int keep, enum server server,
                  const struct serving_rule *rule[SERVING_RULES]);

/* The nearest smaller and larger numbers of experts (less than all, no less than a token uses, and as the
 * groups allow) that have the fewest refusals there can be, if these are fewer than keep's; if not, that have
 * fewer rules against them that slow down. 0: there is none. */
void serving_near(const struct serving *s, int keep, int *below, int *above);

#endif
