/*
 * kinds.h -- the variants of operations, which a family's row names (model/family.h) and a device computes
 * (device.h): part of the contract between programs and backends.
 */
#ifndef MOE_DEVICE_KINDS_H
#define MOE_DEVICE_KINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/device_inline.h"

/* ---- precision ---- */

/* What products are computed with. Automatic: what the device does best of what it can. */
enum precision { PREC_AUTO, PREC_BF16, PREC_F32, PRECISIONS };

struct precision_row {
    const char *name;
    bool bf16;         /* elements (hidden states and what goes into products) are bf16, else f32; a narrower
                          product, of FP8 say, has elements of bf16 too */
    size_t elem_bytes; /* 0: not resolved */
};

static inline const struct precision_row *precision_row(enum precision p)
{
    static const struct precision_row row[PRECISIONS] = {
        {"auto", false, 0}, {"bf16", true, 2}, {"f32", false, 4}};

    return &row[p];
}

/* ---- attention ---- */

/* q and k: not normalised; RMS norm per head before rope; over the whole projection before rope; or per
 * head without a weight, after rope, on rope layers only. */
enum qk_norm { QKN_NONE, QKN_HEAD_PRE, QKN_FULL_PRE, QKN_HEAD_POST };
/* Pairs (p, p + rot/2), or (2p, 2p+1). */
enum rope_layout { ROPE_HALF, ROPE_PAIR };
/* A query sees the keys at its own position and before: all; the last `window`; those of its own chunk of
 * `window` positions. */
enum mask_kind { MASK_FULL, MASK_SLIDING, MASK_CHUNKED };

/* The position of the first key that a query sees; never decreases from one query to the next. Positions are
 * numbered with 31 bits. */
DEVICE_INLINE int mask_first_key(enum mask_kind mask, int window, int query)
{
    if (mask == MASK_SLIDING)
        return query >= window ? query - window + 1 : 0;
    return mask == MASK_CHUNKED ? query - query % window : 0;
}

/* ---- experts ---- */

/* silu(g) * u; or GPT-OSS: g = min(g, limit), u = clamp(u, -limit, limit), (u + 1) * g * sigmoid(1.702 g) */
enum act_kind { ACT_SILU_GLU, ACT_OSS_GLU };
/* What is ranked (a correction bias is added to it, for the ranking only). */
enum score_kind { SCORE_SOFTMAX, SCORE_SIGMOID, SCORE_LOGIT };
/* The gate weight of the selected: their score without the bias; softmax over their logits; sigmoid of
 * their logit. */
enum gate_kind { GATE_SCORE, GATE_SOFTMAX_SELECTED, GATE_SIGMOID_SELECTED };
/* Group-limited routing: a group's score is its largest score (others then count 0), or the sum of its two
 * largest (others then count -infinity). */
enum group_kind { GROUP_NONE, GROUP_MAX, GROUP_TOP2 };

/*
 * What can be summed element by element over the tokens that an expert works on. A gate on the input
 * (Llama 4): x is the gated input, and f(x) is what the expert adds, divided by the gate (0 if that is 0).
 */
enum expert_sum {
    SUM_OUTPUT,             /* f(x), width hidden */
    SUM_OUTPUT_GATED,       /* g f(x), width hidden: what the expert adds */
    SUM_OUTPUT_SQUARE,      /* f(x)^2, width hidden */
    SUM_INPUT_SQUARE,       /* x^2, width hidden: the input of gate and up */
    SUM_INNER_SQUARE,       /* h^2, width inter: the input of down */
    SUM_INNER_GATED_SQUARE, /* (g h)^2, width inter; a gate on the input, which h knows already: h^2 */
    EXPERT_SUMS
};

static inline int expert_sum_width(enum expert_sum s, int hidden, int inter)
{
    return s >= SUM_INNER_SQUARE ? inter : hidden;
}

#endif
