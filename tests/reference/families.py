"""The models that make.py can make: a tiny configuration of each family, and variants of it.

FAMILIES[family]["config"] is spelled as transformers 4 writes it. A variant may have
  set, drop    keys of the configuration to change, to leave out
  style        "v4" (default): written as it stands here; "v5": as transformers 5 writes it
  layout       "split" (default where the family has it), "fused" (transformers 5's own), "mxfp4", "fp8", "fp8-rows", "fp8-scales", "fp8-whole", "ct-mixed",
               those of packed.py: "gptq", "awq", "autoround", "modelopt", "modelopt-nvfp4" and "modelopt-mx" (fused)
  tensors      extra tensors: "mtp" (a multi-token-prediction layer), "vision" (of a wrapper), "lm_head" (tied, and there)
  wrapper      the multimodal wrapper: everything inside text_config, tensors prefixed; "inside": model.language_model.
  shards       number of files
  kept         True: committed under tests/fixtures
"""

import copy

COMMON = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.01,  # large: so that its place shows
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "attention_dropout": 0.0,
    "use_cache": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

QWEN3 = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "head_dim": 16,
    "intermediate_size": 48,
    "moe_intermediate_size": 12,
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "norm_topk_prob": True,
    "mlp_only_layers": [1],
    "decoder_sparse_step": 1,
    "attention_bias": True,
    "use_sliding_window": True,
    "sliding_window": 5,
    "max_window_layers": 3,
    "rope_theta": 20000.0,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "attention_factor": 1.2},
}

QWEN3_VL = {
    "architectures": ["Qwen3VLMoeForCausalLM"],
    "model_type": "qwen3_vl_moe_text",
    "head_dim": 16,
    "intermediate_size": 48,
    "moe_intermediate_size": 12,
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "norm_topk_prob": False,  # which nothing reads
    "mlp_only_layers": [1],
    "decoder_sparse_step": 1,
    "attention_bias": True,
    "rope_theta": 20000.0,
    "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [4, 2, 2]},
}

GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "num_hidden_layers": 2,
    "head_dim": 32,
    "intermediate_size": 64,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "experts_per_token": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 4,
    "attention_bias": True,
    "swiglu_limit": 7.0,
    "initial_context_length": 16,
    "max_position_embeddings": 128,
    "rope_theta": 10000,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
    },
}

LLAMA4 = {
    "architectures": ["Llama4ForCausalLM"],
    "model_type": "llama4_text",
    "num_hidden_layers": 5,
    "head_dim": 16,
    "intermediate_size": 12,
    "intermediate_size_mlp": 40,
    "num_local_experts": 4,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 2,
    "no_rope_layers": [1, 0, 1, 1, 0],
    "attention_chunk_size": 6,
    "attn_temperature_tuning": True,
    "floor_scale": 4,
    "attn_scale": 0.1,
    "use_qk_norm": True,
    "max_position_embeddings": 128,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}

MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "head_dim": None,
    "intermediate_size": 12,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "sliding_window": 5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
}

MLA = {
    "num_key_value_heads": 4,
    "q_lora_rank": 12,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 6,
    "intermediate_size": 40,
    "moe_intermediate_size": 12,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "attention_bias": True,
    "rope_theta": 5000.0,
    "rope_scaling": {
        "type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 0.707,
        "mscale_all_dim": 1.0,
    },
}

DEEPSEEK_V2 = {
    **MLA,
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "n_shared_experts": 2,
    "topk_method": "group_limited_greedy",
    "norm_topk_prob": False,
    "mlp_bias": False,
    "scoring_func": "softmax",
    "moe_layer_freq": 1,
    "aux_loss_alpha": 0.001,
    "seq_aux": True,
    "ep_size": 1,
}

DEEPSEEK_V3 = {
    **MLA,
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "n_shared_experts": 1,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "moe_layer_freq": 1,
    "norm_topk_prob": True,
    "num_nextn_predict_layers": 1,
}

ERNIE = {
    "architectures": ["Ernie4_5_MoeForCausalLM"],
    "model_type": "ernie4_5_moe",
    "num_hidden_layers": 5,
    "intermediate_size": 28,
    "moe_intermediate_size": 12,
    "moe_num_experts": 6,
    "moe_k": 2,
    "moe_num_shared_experts": 2,
    "moe_layer_start_index": 1,
    "moe_layer_end_index": 3,
    "moe_layer_interval": 2,
    "moe_capacity": [6, 6, 6],
    "moe_gate": "topk",
    "moe_gate_act": "softmax",
    "moe_use_aux_free": True,
    "use_moe": True,
    "use_bias": False,
    "num_nextn_predict_layers": 1,
    "tie_word_embeddings": True,
    "rope_theta": 500000,
}

GLM4 = {
    "architectures": ["Glm4MoeForCausalLM"],
    "model_type": "glm4_moe",
    "head_dim": 16,
    "intermediate_size": 48,
    "moe_intermediate_size": 12,
    "attention_bias": True,
    "use_qk_norm": True,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "partial_rotary_factor": 0.5,
    "num_nextn_predict_layers": 1,
    "rope_theta": 20000,
    "rope_scaling": None,
}

SOLAR_OPEN = {
    **{k: v for k, v in GLM4.items() if k not in ("num_nextn_predict_layers", "partial_rotary_factor")},
    "architectures": ["SolarOpenForCausalLM"],
    "model_type": "solar_open",
    "use_qk_norm": False,
    "first_k_dense_replace": 0,
    "n_group": 1,
    "topk_group": 1,
    "rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16},
}

DOTS1 = {
    **SOLAR_OPEN,
    "architectures": ["Dots1ForCausalLM"],
    "model_type": "dots1",
    "first_k_dense_replace": 1,
    "n_shared_experts": 2,
    "max_window_layers": 2,
    "sliding_window": 5,
    "rope_scaling": None,
}
del DOTS1["use_qk_norm"]

# GLM-4.7-Flash: DeepSeek-V3's layers under GLM's names
GLM4_LITE = {
    **MLA,
    "architectures": ["Glm4MoeLiteForCausalLM"],
    "model_type": "glm4_moe_lite",
    "num_hidden_layers": 4,
    "n_shared_experts": 1,
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 1.8,
    "attention_bias": False,
    "num_nextn_predict_layers": 1,
    "partial_rotary_factor": 1.0,
    "rope_theta": 1000000,
    "rope_scaling": None,
}

# As many tokens as the longest sequence of the golden has: the indexers leave out none
INDEXER = {"index_topk": 24, "index_n_heads": 3, "index_head_dim": 12, "attention_bias": False}

DEEPSEEK_V32 = {**DEEPSEEK_V3, **INDEXER, "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32"}

GLM_DSA = {
    **DEEPSEEK_V3,
    **INDEXER,
    "architectures": ["GlmMoeDsaForCausalLM"],
    "model_type": "glm_moe_dsa",
    "num_hidden_layers": 4,
    "n_group": 1,
    "topk_group": 1,
    "head_dim": 8,
    "indexer_types": ["full", "shared", "full", "shared"],
    "index_topk_freq": 2,
    "index_skip_topk_offset": 1,
    "indexer_rope_interleave": True,
    "mlp_layer_types": ["dense", "sparse", "dense", "sparse"],
    "moe_router_dtype": "float32",
    "rope_scaling": None,
}

HY_V3 = {
    "architectures": ["HYV3ForCausalLM"],
    "model_type": "hy_v3",
    "head_dim": 16,
    "intermediate_size": 40,
    "moe_intermediate_size": 12,
    "expert_hidden_dim": 12,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "num_shared_experts": 1,
    "first_k_dense_replace": 1,
    "router_scaling_factor": 2.826,
    "route_norm": True,
    "qk_norm": True,
    "moe_router_use_sigmoid": True,
    "moe_router_enable_expert_bias": True,
    "enable_moe_fp32_combine": False,
    "enable_lm_head_fp32": True,
    "num_nextn_predict_layers": 1,
    "rope_theta": 11158840.0,
    "rope_scaling": None,
}

MINIMAX_M2 = {
    "architectures": ["MiniMaxM2ForCausalLM"],
    "model_type": "minimax_m2",
    "num_hidden_layers": 2,
    "head_dim": 16,
    "intermediate_size": 12,
    "num_local_experts": 6,
    "num_experts_per_tok": 2,
    "rotary_dim": 8,
    "scoring_func": "sigmoid",
    "use_qk_norm": True,
    "qk_norm_type": "per_layer",
    "use_routing_bias": True,
    "shared_intermediate_size": 0,
    "rope_theta": 10000,
}

MINIMAX_M3 = {
    "architectures": ["MiniMaxM3SparseForCausalLM"],
    "model_type": "minimax_m3_vl_text",
    "num_hidden_layers": 3,
    "head_dim": 16,
    "hidden_act": "swigluoai",
    "swiglu_alpha": 1.702,
    "swiglu_limit": 7.0,
    "intermediate_size": 12,
    "dense_intermediate_size": 40,
    "shared_intermediate_size": 12,
    "n_shared_experts": 1,
    "num_local_experts": 6,
    "num_experts_per_tok": 2,
    "moe_layer_freq": [0, 1, 1],
    "routed_scaling_factor": 2.0,
    "rotary_dim": 8,
    "partial_rotary_factor": 0.5,
    "scoring_func": "sigmoid",
    "use_gemma_norm": True,
    "use_qk_norm": True,
    "qk_norm_type": "per_head",
    "use_routing_bias": True,
    "rope_theta": 5000000,
    # three blocks of eight: as many tokens as the longest sequence of the golden has
    "sparse_attention_config": {
        "use_sparse_attention": True,
        "sparse_index_dim": 8,
        "sparse_num_index_heads": 2,
        "sparse_topk_blocks": 3,
        "sparse_block_size": 8,
        "sparse_disable_index_value": [0, 1, 1],
        "sparse_score_type": "max",
        "sparse_init_block": 0,
        "sparse_local_block": 1,
        "sparse_attention_freq": [0, 1, 1],
    },
}

QWEN2 = {
    "architectures": ["Qwen2MoeForCausalLM"],
    "model_type": "qwen2_moe",
    "num_hidden_layers": 4,
    "intermediate_size": 40,
    "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 20,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "norm_topk_prob": False,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "qkv_bias": True,
    "use_sliding_window": False,
    "sliding_window": 4,
    "max_window_layers": 28,
    "rope_theta": 20000.0,
    "rope_scaling": None,
}

OLMOE = {
    "architectures": ["OlmoeForCausalLM"],
    "model_type": "olmoe",
    "intermediate_size": 12,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "norm_topk_prob": False,
    "attention_bias": False,
    "clip_qkv": None,
    "rope_theta": 5000.0,
    "rope_scaling": None,
}

KEPT = {"kept": True}


def dynamic(factor):
    """24 tokens are more than 16 positions."""
    return {"max_position_embeddings": 16, "rope_scaling": {"type": "dynamic", "factor": factor}}


LINEAR = {"rope_scaling": {"rope_type": "linear", "factor": 2.5}}

FAMILIES = {
    "qwen3": {
        "config": QWEN3,
        "variants": {
            "yarn": {**KEPT},
            "dynamic": {
                **KEPT,
                "style": "v5",
                "layout": "fused",
                "set": {
                    **dynamic(2.0),
                    "decoder_sparse_step": 2,
                    "mlp_only_layers": [],
                    "norm_topk_prob": False,
                    "attention_bias": False,
                    "use_sliding_window": False,
                    "sliding_window": None,
                    "tie_word_embeddings": True,
                },
            },
            "fp8-scales": {
                **KEPT,
                "layout": "fp8-scales",
                "set": {
                    "rope_scaling": None,
                    "num_hidden_layers": 1,
                    "mlp_only_layers": [],
                    "hidden_size": 64,
                    "moe_intermediate_size": 32,
                    "num_experts": 5,
                    "num_experts_per_tok": 2,
                    "attention_bias": False,
                    "use_sliding_window": False,
                },
            },
            "fp8-whole": {
                **KEPT,
                "layout": "fp8-whole",
                "set": {
                    "rope_scaling": None,
                    "num_hidden_layers": 1,
                    "mlp_only_layers": [],
                    "hidden_size": 64,
                    "moe_intermediate_size": 32,
                    "num_experts": 5,
                    "num_experts_per_tok": 2,
                    "attention_bias": False,
                    "use_sliding_window": False,
                },
            },
            "ct-mixed": {
                **KEPT,
                "layout": "ct-mixed",
                "set": {
                    "rope_scaling": None,
                    "num_hidden_layers": 2,
                    "mlp_only_layers": [],
                    "hidden_size": 32,
                    "moe_intermediate_size": 64,
                    "num_experts": 12,
                    "num_experts_per_tok": 3,
                    "attention_bias": False,
                    "use_sliding_window": False,
                },
            },
            "fp8": {
                **KEPT,
                "layout": "fp8",
                "set": {
                    **LINEAR,
                    "rms_norm_eps": 1e-6,
                    "num_hidden_layers": 2,
                    "head_dim": 40,
                    "mlp_only_layers": [0],
                    "moe_intermediate_size": 136,
                    "num_experts": 4,
                    "num_experts_per_tok": 2,
                    "attention_bias": False,
                    "use_sliding_window": False,
                },
            },
            "gptq": {**KEPT, "layout": "gptq", "set": {**LINEAR, "num_hidden_layers": 2, "mlp_only_layers": [], "moe_intermediate_size": 32, "num_experts": 4}},
            "modelopt": {
                **KEPT,
                "layout": "modelopt",
                "set": {**LINEAR, "num_hidden_layers": 2, "mlp_only_layers": [0], "intermediate_size": 64, "moe_intermediate_size": 16},
            },
            "sharded": {"shards": 3, "set": {"mlp_only_layers": [], "rope_scaling": None}},
        },
    },
    "qwen3-vl": {
        "config": QWEN3_VL,
        "variants": {
            "inside": {**KEPT, "wrapper": "inside", "layout": "input-major"},
        },
    },
    "gptoss": {
        "config": GPT_OSS,
        "variants": {
            # everything that may be absent is: layer types, rope (then the class default, yarn 32)
            "mxfp4": {
                **KEPT,
                "layout": "mxfp4",
                "drop": ["layer_types", "rope_theta", "rope_scaling", "attention_bias", "swiglu_limit"],
                "set": {"num_experts_per_tok": 1, "experts_per_token": 1},
            },
            "bf16": {
                **KEPT,
                "style": "v5",
                "set": {
                    "num_hidden_layers": 3,
                    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
                    "intermediate_size": 20,
                    "head_dim": 12,
                    "attention_bias": False,
                    "tie_word_embeddings": True,
                    "rope_scaling": {**GPT_OSS["rope_scaling"], "truncate": True},
                },
            },
            "mxfp4-yarn": {"layout": "mxfp4"},
            "nvfp4": {**KEPT, "layout": "modelopt-nvfp4"},
        },
    },
    "llama4": {
        "config": LLAMA4,
        "variants": {
            "wrapper": {
                **KEPT,
                "wrapper": True,
                "tensors": "vision",
                "set": {
                    "num_hidden_layers": 4,
                    "no_rope_layers": [1, 0, 1, 1],
                    "moe_layers": [0, 1, 3],
                    "num_experts_per_tok": 2,
                    "attn_temperature_tuning": 4,
                    "rope_scaling": {**LLAMA4["rope_scaling"], "factor": 16.0, "high_freq_factor": 1.0},
                },
            },
            "flat": {
                **KEPT,
                "style": "v5",
                "set": {
                    "num_hidden_layers": 4,
                    "no_rope_layers": [],
                    "no_rope_layer_interval": 2,
                    "use_qk_norm": False,
                    "attention_bias": True,
                    "attn_temperature_tuning": False,
                    "tie_word_embeddings": True,
                },
            },
            # as quantized re-releases name the experts; rope without scaling
            "mx": {**KEPT, "layout": "modelopt-mx", "set": {"num_hidden_layers": 3, "no_rope_layers": [1, 0, 1], "intermediate_size": 16}},
            "split": {**KEPT, "layout": "split", "drop": ["rope_scaling"], "set": {"num_hidden_layers": 3, "no_rope_layers": [1, 0, 1]}},
        },
    },
    "mixtral": {
        "config": MIXTRAL,
        "variants": {
            "window": {**KEPT},
            "fused": {
                **KEPT,
                "style": "v5",
                "layout": "fused",
                "tensors": "lm_head",
                "set": {
                    "head_dim": 16,
                    "num_key_value_heads": 4,
                    "num_local_experts": 4,
                    "num_experts_per_tok": 4,
                    "sliding_window": None,
                    "tie_word_embeddings": True,
                },
            },
        },
    },
    "deepseek-v2": {
        "config": DEEPSEEK_V2,
        "variants": {
            "groups": {**KEPT, "set": {"num_hidden_layers": 2}},
            "greedy": {
                **KEPT,
                "style": "v5",
                "layout": "fused",
                "set": {
                    "num_hidden_layers": 2,
                    "q_lora_rank": None,
                    "first_k_dense_replace": 0,
                    "topk_method": "greedy",
                    "n_group": 1,
                    "topk_group": 1,
                    "n_shared_experts": 1,
                    "routed_scaling_factor": 16.0,
                    "attention_bias": False,
                    "mlp_bias": True,
                    "tie_word_embeddings": True,
                    "rope_scaling": None,
                },
            },
            "same-mscale": {"set": {"rope_scaling": {**MLA["rope_scaling"], "mscale_all_dim": 0.707}}},
        },
    },
    "ernie4_5": {
        "config": ERNIE,
        "variants": {
            "interval": {**KEPT, "tensors": "mtp"},
            "bias": {
                **KEPT,
                "style": "v5",
                "layout": "fused",
                "drop": ["num_nextn_predict_layers", "moe_capacity", "moe_gate", "moe_gate_act"],
                "set": {
                    "num_hidden_layers": 3,
                    "head_dim": 16,
                    "moe_layer_end_index": -1,
                    "moe_layer_interval": 1,
                    "use_bias": True,
                    "rope_theta": 10000,
                    "tie_word_embeddings": False,
                    "rope_scaling": {**LLAMA4["rope_scaling"], "factor": 4.0},
                },
            },
            "no-shared": {"set": {"moe_num_shared_experts": 0, "num_hidden_layers": 4}},
        },
    },
    "glm4": {
        "config": GLM4,
        "variants": {
            "mtp": {**KEPT, "tensors": "mtp", "set": {"num_hidden_layers": 2}},
            "fp8-rows": {**KEPT, "layout": "fp8-rows", "set": {"num_hidden_layers": 2, "num_nextn_predict_layers": 0}},
            "awq": {
                **KEPT,
                "layout": "awq",
                "set": {"num_hidden_layers": 2, "moe_intermediate_size": 16, "intermediate_size": 48, "num_nextn_predict_layers": 0},
            },
            "plain": {
                **KEPT,
                "style": "v5",
                "layout": "fused",
                "set": {
                    "attention_bias": False,
                    "use_qk_norm": False,
                    "norm_topk_prob": False,
                    "first_k_dense_replace": 2,
                    "n_shared_experts": 2,
                    "n_group": 1,
                    "partial_rotary_factor": 0.25,
                    "num_nextn_predict_layers": 0,
                    "tie_word_embeddings": True,
                    **LINEAR,
                },
            },
            "all-rotated": {"set": {"partial_rotary_factor": 1.0, "n_group": 1}},
        },
    },
    "solar": {"config": SOLAR_OPEN, "variants": {"yarn": {**KEPT, "set": {"num_hidden_layers": 2}}}},
    "dots1": {"config": DOTS1, "variants": {"window": {**KEPT}}},
    "deepseek-v3": {
        "config": DEEPSEEK_V3,
        "variants": {
            "fp8": {
                **KEPT,
                "layout": "fp8",
                "tensors": "mtp",
                "set": {
                    "rms_norm_eps": 1e-6,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "n_routed_experts": 6,
                    "num_experts_per_tok": 2,
                    "n_group": 2,
                    "topk_group": 1,
                    "kv_lora_rank": 132,
                    "qk_nope_head_dim": 10,
                    "v_head_dim": 34,
                    "attention_bias": False,
                },
            },
            "half": {
                **KEPT,
                "style": "v5",
                "layout": "fused",
                "set": {
                    "num_hidden_layers": 2,
                    "rope_interleave": False,
                    "q_lora_rank": None,
                    "first_k_dense_replace": 0,
                    "norm_topk_prob": False,
                    "num_nextn_predict_layers": 0,
                    "rope_scaling": {"rope_type": "linear", "factor": 2.5, "mscale_all_dim": 1.0},
                },
            },
            # Kimi-K2's keys: no groups to speak of, beta_fast = beta_slow
            "kimi-k2": {
                **KEPT,
                "set": {
                    "model_type": "kimi_k2",
                    "num_hidden_layers": 2,
                    "n_group": 1,
                    "topk_group": 1,
                    "routed_scaling_factor": 2.827,
                    "num_nextn_predict_layers": 0,
                    "attention_bias": False,
                    "rope_theta": 50000.0,
                    "rope_scaling": {**MLA["rope_scaling"], "factor": 64.0, "beta_fast": 1.0, "beta_slow": 1.0, "mscale": 1.0},
                },
            },
        },
    },
    "kimi-k25": {
        "config": {**DEEPSEEK_V3, "architectures": ["KimiK25ForCausalLM"], "model_type": "kimi_k2"},
        "variants": {
            # quantization_config inside text_config
            "wrapper": {
                **KEPT,
                "wrapper": True,
                "layout": "fp8",
                "set": {"num_hidden_layers": 2, "n_group": 1, "topk_group": 1, "attention_bias": False, "num_nextn_predict_layers": 0},
            },
        },
    },
    "glm4-lite": {
        "config": GLM4_LITE,
        "variants": {
            "flash": {**KEPT, "tensors": "mtp", "set": {"num_hidden_layers": 2}},
            "types": {
                **KEPT,
                "style": "v5",
                "drop": ["first_k_dense_replace", "num_nextn_predict_layers", "topk_method"],
                "set": {"mlp_layer_types": ["dense", "sparse", "dense", "sparse"], "n_group": 4, "topk_group": 2, "routed_scaling_factor": 1.5},
            },
        },
    },
    "deepseek-v32": {
        "config": DEEPSEEK_V32,
        "variants": {
            "fp8": {
                **KEPT,
                "layout": "fp8",
                "tensors": "mtp",
                "set": {"rms_norm_eps": 1e-6, "num_hidden_layers": 2, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1},
            },
        },
    },
    "glm-dsa": {
        "config": GLM_DSA,
        "variants": {
            "types": {**KEPT, "tensors": "mtp"},
        },
    },
    "hy3": {
        "config": HY_V3,
        "variants": {
            "mtp": {**KEPT, "tensors": "mtp"},
        },
    },
    "minimax-m2": {
        "config": MINIMAX_M2,
        "variants": {
            "fp8": {**KEPT, "layout": "fp8", "set": {"head_dim": 40, "rotary_dim": 20, "num_local_experts": 4, "intermediate_size": 68}},
            "fused": {"style": "v5", "layout": "fused", "drop": ["rotary_dim"], "set": {"partial_rotary_factor": 0.5}},
        },
    },
    "minimax-m3": {
        "config": MINIMAX_M3,
        "variants": {
            "wrapper": {**KEPT, "wrapper": True, "layout": "minimax-m3"},
        },
    },
    "qwen2": {
        "config": QWEN2,
        "variants": {
            "window": {
                **KEPT,
                "set": {
                    **dynamic(4.0),
                    "decoder_sparse_step": 2,
                    "norm_topk_prob": True,
                    "qkv_bias": False,
                    "use_sliding_window": True,
                    "max_window_layers": 2,
                },
            },
            "fused": {"style": "v5", "layout": "fused", "set": {"num_hidden_layers": 3}},
        },
    },
    "olmoe": {
        "config": OLMOE,
        "variants": {
            "autoround": {**KEPT, "layout": "autoround", "set": {"num_hidden_layers": 2, "intermediate_size": 16}},
            "clip": {
                **KEPT,
                "layout": "fused",
                "set": {"clip_qkv": 0.6, "norm_topk_prob": True, "attention_bias": True, "tie_word_embeddings": True},
            },
        },
    },
}


def variant(family, name):
    """(configuration as transformers 4 spells it, the variant's description)"""
    f = FAMILIES[family]
    v = f["variants"][name]
    config = {**COMMON, **f["config"], **v.get("set", {})}
    for key in v.get("drop", []):
        del config[key]
    return copy.deepcopy(config), v
