/*
 * repair_sums.h -- private to judge: the sums over tokens that a layer's repair is fitted to (repair.h).
 */
#ifndef MOE_JUDGE_REPAIR_SUMS_H
#define MOE_JUDGE_REPAIR_SUMS_H

#include "engine/engine.h"

/* Of one layer, over the documents of one half. */
struct repair_sums {
    double *m;     /* [experts][experts] */
    double *v;     /* [experts][width] */
    double rr, yy; /* |r|^2, |y|^2 */
};

/* What all layers have in common, and the tokens at hand. */
struct repair_adder {
    int experts, topk, hidden;
    bool bf16;  /* elements */
    bool gated; /* what the experts gave is weighed already: a gate on the input */
    bool bias;  /* width is hidden: biases are fitted; else it is 1: factors */
    struct pool *pool;
    float *scratch; /* [threads][topk + 1][hidden] */
    float *r;       /* [tokens][hidden] what is missing */
    double *inner;  /* [tokens][topk * topk + topk + 2] inner products */
};

int repair_adder_open(struct repair_adder *a, const struct arch *of, bool bf16, int threads, struct err *e);
void repair_adder_close(struct repair_adder *a);
int repair_sums_new(struct repair_sums *s, const struct repair_adder *a, struct err *e);
void repair_sums_free(struct repair_sums *s);
/* n tokens that an observer was shown, of the whole model and under the plan; token t goes to s[half[t]]. The
 * same sums whatever the number of threads. */
void repair_add(struct repair_adder *a, struct repair_sums *s, const uint8_t *half,
                const struct token_rows *whole, const struct token_rows *planned, int n);
/* to += from, but for |r|^2 and |y|^2. */
void repair_sums_join(struct repair_sums *to, const struct repair_sums *from, int experts, int width);
/* |r|^2 over the tokens of s after a repair by d [experts][width]. */
double repair_error(const struct repair_sums *s, const double *d, int experts, int width);

#endif
