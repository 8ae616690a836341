/*
 * slots.h -- every tensor of a model, from its architecture: the one list.
 *
 * What is checked, loaded, counted, chosen for quantization and estimated is what stands here, so that no two
 * of them can disagree. A slot is what one module of the model holds; how its numbers are stored (formats,
 * one tensor or several) is not its affair. Tensors that no slot describes: those of MTP layers, which are
 * dropped or kept as they are and never looked into (ROLE_MTP), and the other parts of a multimodal wrapper.
 *
 *     struct slot s[LAYER_SLOTS];
 *     int i, n = layer_slots(m, layer, s);
 */
#ifndef MOE_MODEL_SLOTS_H
#define MOE_MODEL_SLOTS_H

#include "model/model.h"

/* A container that has names of its own has them for these. */
enum slot_id {
    SLOT_NONE,
    SLOT_EMBEDDING,
    SLOT_FINAL_NORM,
    SLOT_HEAD,
    SLOT_IN_NORM,
    SLOT_POST_NORM,
    SLOT_Q,
    SLOT_K,
    SLOT_V,
    SLOT_QKV, /* all three in one */
    SLOT_O,
    SLOT_Q_NORM,
    SLOT_K_NORM,
    SLOT_SINKS,
    SLOT_Q_DOWN, /* latent attention: to the latents, their norms, from the latents */
    SLOT_Q_LATENT_NORM,
    SLOT_Q_UP,
    SLOT_KV_DOWN, /* with the rotated part of k */
    SLOT_KV_LATENT_NORM,
    SLOT_KV_UP, /* k without its rotated part, and v; or each by itself */
    SLOT_K_UP,
    SLOT_V_UP,
    SLOT_INDEX_Q, /* of an indexer */
    SLOT_INDEX_K,
    SLOT_INDEX_WEIGHTS,
    SLOT_INDEX_NORM,
    SLOT_ROUTER,
    SLOT_CORRECTION, /* added to the scores for the ranking */
    SLOT_GATE,       /* of a dense MLP */
    SLOT_UP,
    SLOT_DOWN,
    SLOT_SHARED_GATE,
    SLOT_SHARED_UP,
    SLOT_SHARED_DOWN,
    SLOT_SHARED_SWITCH, /* one row: how much the shared expert counts */
    SLOT_EXPERT_GATE,
    SLOT_EXPERT_UP,
    SLOT_EXPERT_DOWN,
    SLOT_EXPERT_GATE_UP, /* both in one tensor, as the layout says */
};

/* Whose matrix or vector it is, see struct slot's at. What is an indexer's is not loaded. */
enum slot_owner {
    OF_MODEL,
    OF_LAYER,
    OF_MIXER,
    OF_INDEXER,
    OF_ROUTER,
    OF_DENSE,
    OF_SHARED,
    OF_EXPERTS,
    SLOT_OWNERS
};

enum { SLOT_NAME = 160, LAYER_SLOTS = 40, MODEL_SLOTS = 3 };

struct slot {
    enum slot_id id;
    /* Of a matrix the module's, within the layer (of OF_MODEL, the model): what stands before ".weight" and
     * ".bias"; "self_attn.q_proj". Of a vector, the tensor's own: "self_attn.sinks". ROLE_EXPERT: with %d for
     * the expert. */
    char name[SLOT_NAME];
    int out, in;   /* y[out] = W x[in]; in 0: a vector of out elements. Of one expert */
    bool bias;     /* it has out more */
    bool linear;   /* in any of the storage formats; else BF16, F16 or F32 */
    bool row;      /* a vector that is stored as [1, out] */
    bool plus_one; /* a vector that is stored less one */
    bool optional; /* need not be there, but for its bias */
    int turned; /* so many blocks of rows (heads) are each stored transposed, [in, out / turned]; 0: none */
    enum role role;
    enum slot_owner owner;
    /* The owner's matrix (of one of ROUTER_, MLP_, or the mixer's own) or vector that it becomes. Matrices
     * with the same `at` are stacked in the order of the list; biases go with them. */
    int at;
};

/* Matrices and vectors of owners. */
enum { LAYER_IN_NORM, LAYER_POST_NORM, LAYER_VECTORS };
enum { ROUTER_LOGITS, ROUTER_SHARED_SWITCH, ROUTER_MATRICES };
enum { ROUTER_CORRECTION, ROUTER_VECTORS };
enum { MLP_GATE_UP, MLP_DOWN, MLP_MATRICES };

/* The tensors of a layer, LAYER_SLOTS at most, or outside of them, MODEL_SLOTS at most; how many. m: its
 * arch, layout and ffn_module are looked at. */
int layer_slots(const struct model *m, int layer, struct slot *s);
int model_slots(const struct model *m, struct slot *s);
/* One of those outside of layers. */
struct slot model_slot(const struct model *m, enum slot_id id);
/* The slot that tensor i of the checkpoint is part of; false: of none. */
bool slot_of(const struct model *m, size_t i, struct slot *s);

/* Numbers that a slot holds, all experts and biases. */
uint64_t slot_elements(const struct model *m, const struct slot *s);

#endif
