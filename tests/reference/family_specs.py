"""What the tiny random models of make_families.py are: two unlike configurations of every family, one of BERT."""

LENGTHS = [7, 1, 17, 2, 13]
ROPE = {"rope_theta": 50.0}  # small, so that every frequency turns within the few tokens here
LLAMA = {
    "vocab_size": 53,
    "hidden_size": 20,
    "intermediate_size": 28,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "head_dim": 6,
}

# `model` is the stem of the classes' names, `lm` the class of the language model. What a spec does not say: "next" is
# false (targets are given, not the next tokens), "n_segments" 0 (the model is given none), "lengths" LENGTHS, "unused"
# none (parameters that these runs do not touch), "zero" none (maps whose bias changes nothing, but for keys),
# "hidden_states_only" false.
SPECS = {
    "gpt2_a": {
        "model": "GPT2",
        "lm": "GPT2LMHeadModel",
        "next": True,
        "config": {"vocab_size": 47, "n_embd": 21, "n_layer": 2, "n_head": 3, "n_positions": 17, "bos_token_id": 1,
                   "eos_token_id": 1},
    },
    "gpt2_b": {
        "model": "GPT2",
        "lm": "GPT2LMHeadModel",
        "next": True,
        "config": {"vocab_size": 53, "n_embd": 20, "n_layer": 3, "n_head": 5, "n_positions": 40, "n_inner": 33,
                   "activation_function": "relu", "layer_norm_epsilon": 1e-6, "tie_word_embeddings": False,
                   "pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 1},
    },
    "llama_a": {
        "model": "Llama",
        "lm": "LlamaForCausalLM",
        "next": True,
        "config": LLAMA | {"tie_word_embeddings": True, "rope_parameters": ROPE | {"rope_type": "default"}},
    },
    "llama_b": {
        "model": "Llama",
        "lm": "LlamaForCausalLM",
        "next": True,
        "lengths": [13, 2, 33, 1, 7],
        # Wave lengths 6, 17, 44, 118 against 8 and 32: one kept, one between, two stretched.
        "config": LLAMA | {
            "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8, "rms_norm_eps": 1e-5,
            "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "pad_token_id": 0,
            "rope_parameters": ROPE | {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
    },
    "llama_linear": {
        "model": "Llama",
        "hidden_states_only": True,
        "config": LLAMA | {"rope_parameters": ROPE | {"rope_type": "linear", "factor": 2.5}},
    },
    "llama_yarn": {
        "model": "Llama",
        "hidden_states_only": True,
        # Of the four frequencies one is kept, one between, two stretched.
        "config": LLAMA | {
            "head_dim": 8,
            "rope_parameters": ROPE | {
                "rope_type": "yarn", "factor": 4.0, "beta_fast": 4.0, "beta_slow": 1.0,
                "original_max_position_embeddings": 32,
            },
        },
    },
    "mistral": {
        "model": "Mistral",
        "lm": "MistralForCausalLM",
        "next": True,
        "config": LLAMA | {"sliding_window": 5, "rope_parameters": ROPE | {"rope_type": "default"}},
    },
    "qwen2": {
        "model": "Qwen2",
        "lm": "Qwen2ForCausalLM",
        "next": True,
        "config": {name: value for name, value in LLAMA.items() if name != "head_dim"} | {
            "hidden_size": 24, "num_hidden_layers": 3, "use_sliding_window": True, "max_window_layers": 1,
            "sliding_window": 4, "tie_word_embeddings": True, "rope_parameters": ROPE | {"rope_type": "default"},
        },
    },
    "qwen3": {
        "model": "Qwen3",
        "lm": "Qwen3ForCausalLM",
        "next": True,
        "config": LLAMA | {"head_dim": 8, "rope_parameters": ROPE | {"rope_type": "default"}},
    },
    "roberta_a": {
        "model": "Roberta",
        "lm": "RobertaForMaskedLM",
        "config": {"vocab_size": 47, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
                   "intermediate_size": 28, "max_position_embeddings": 19, "type_vocab_size": 1, "hidden_act": "gelu",
                   "layer_norm_eps": 1e-5, "pad_token_id": 1},
    },
    "roberta_b": {
        "model": "XLMRoberta",
        "lm": "XLMRobertaForMaskedLM",
        "lengths": [13, 2, 25, 1, 7],
        "config": {"vocab_size": 41, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 5,
                   "intermediate_size": 34, "max_position_embeddings": 30, "type_vocab_size": 1,
                   "hidden_act": "gelu_new", "layer_norm_eps": 1e-6, "pad_token_id": 4, "classifier_dropout": 0.3},
    },
    "camembert": {
        "model": "Camembert",
        "lm": "CamembertForMaskedLM",
        "config": {"vocab_size": 43, "hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
                   "intermediate_size": 24, "max_position_embeddings": 19, "type_vocab_size": 1,
                   "layer_norm_eps": 1e-5, "bos_token_id": 5, "eos_token_id": 6},
    },
    "distilbert_a": {
        "model": "DistilBert",
        "lm": "DistilBertForMaskedLM",
        "config": {"vocab_size": 47, "dim": 24, "n_layers": 3, "n_heads": 3, "hidden_dim": 26,
                   "max_position_embeddings": 17, "activation": "gelu"},
    },
    "distilbert_b": {
        "model": "DistilBert",
        "lm": "DistilBertForMaskedLM",
        "unused": ["distilbert.embeddings.position_embeddings.weight"],  # transformers does not train sinusoids
        "config": {"vocab_size": 53, "dim": 20, "n_layers": 2, "n_heads": 5, "hidden_dim": 37, "pad_token_id": 3,
                   "max_position_embeddings": 29, "activation": "relu", "sinusoidal_pos_embds": True},
    },
    "bert": {
        "model": "Bert",
        "lm": "BertForMaskedLM",
        "n_segments": 2,
        "config": {"vocab_size": 47, "hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3,
                   "intermediate_size": 30, "max_position_embeddings": 17, "layer_norm_eps": 1e-6},
    },
    "electra_a": {
        "detector": True,
        "model": "Electra",
        "lm": "ElectraForMaskedLM",
        "n_segments": 2,
        "config": {"vocab_size": 47, "embedding_size": 14, "hidden_size": 24, "num_hidden_layers": 2,
                   "num_attention_heads": 3, "intermediate_size": 30, "max_position_embeddings": 17},
    },
    "electra_b": {
        "detector": True,
        "model": "Electra",
        "lm": "ElectraForMaskedLM",
        "n_segments": 3,
        "config": {"vocab_size": 53, "embedding_size": 20, "hidden_size": 20, "num_hidden_layers": 3,
                   "num_attention_heads": 5, "intermediate_size": 26, "max_position_embeddings": 29,
                   "type_vocab_size": 3, "hidden_act": "relu", "layer_norm_eps": 1e-5, "classifier_dropout": 0.2},
    },
    "albert_a": {
        "model": "Albert",
        "lm": "AlbertForMaskedLM",
        "n_segments": 2,
        "config": {"vocab_size": 47, "embedding_size": 14, "hidden_size": 24, "num_hidden_layers": 3,
                   "num_hidden_groups": 1, "num_attention_heads": 3, "intermediate_size": 34,
                   "max_position_embeddings": 17},
    },
    "albert_b": {
        "model": "Albert",
        "lm": "AlbertForMaskedLM",
        "n_segments": 3,
        "config": {"vocab_size": 53, "embedding_size": 20, "hidden_size": 20, "num_hidden_layers": 4,
                   "num_hidden_groups": 2, "num_attention_heads": 5, "intermediate_size": 31, "hidden_act": "gelu",
                   "max_position_embeddings": 29, "type_vocab_size": 3, "layer_norm_eps": 1e-5, "pad_token_id": 5,
                   "classifier_dropout_prob": 0.25},
    },
    "modernbert_a": {
        "model": "ModernBert",
        "lm": "ModernBertForMaskedLM",
        "config": {"vocab_size": 47, "hidden_size": 24, "intermediate_size": 22, "num_hidden_layers": 3,
                   "num_attention_heads": 3, "max_position_embeddings": 64, "local_attention": 6,
                   "global_attn_every_n_layers": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                   "cls_token_id": 1, "sep_token_id": 2},
    },
    "modernbert_b": {
        "model": "ModernBert",
        "lm": "ModernBertForMaskedLM",
        "config": {"vocab_size": 53, "hidden_size": 20, "intermediate_size": 19, "num_hidden_layers": 4,
                   "num_attention_heads": 5, "max_position_embeddings": 64, "local_attention": 8,
                   "global_attn_every_n_layers": 3, "hidden_activation": "gelu_new", "norm_bias": True,
                   "attention_bias": True, "mlp_bias": True, "classifier_bias": True, "classifier_pooling": "mean",
                   "classifier_activation": "silu", "norm_eps": 1e-6, "pad_token_id": 3, "bos_token_id": 1,
                   "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
                   "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 80.0},
                                       "sliding_attention": {"rope_type": "default", "rope_theta": 20.0}}},
    },
    "xlnet_a": {
        "model": "XLNet",
        "lm": "XLNetLMHeadModel",
        "n_segments": 3,
        "unused": ["transformer.mask_emb"],  # of the query stream
        "streams": True,
        "config": {"vocab_size": 47, "d_model": 18, "n_layer": 2, "n_head": 3, "d_inner": 29, "mem_len": None},
    },
    "xlnet_b": {
        "model": "XLNet",
        "lm": "XLNetLMHeadModel",
        "n_segments": 2,
        "unused": ["transformer.mask_emb"],
        "config": {"vocab_size": 53, "d_model": 20, "n_layer": 3, "n_head": 5, "d_inner": 23, "mem_len": None,
                   "ff_activation": "relu", "clamp_len": 5, "layer_norm_eps": 1e-5, "pad_token_id": 0},
    },
    "mpnet_a": {
        "model": "MPNet",
        "lm": "MPNetForMaskedLM",
        "config": {"vocab_size": 47, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
                   "intermediate_size": 28, "max_position_embeddings": 19},
    },
    "mpnet_b": {
        "model": "MPNet",
        "lm": "MPNetForMaskedLM",
        "lengths": [13, 2, 47, 1, 7],
        "config": {"vocab_size": 53, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 5,
                   "intermediate_size": 33, "max_position_embeddings": 50, "hidden_act": "relu",
                   "layer_norm_eps": 1e-5, "relative_attention_num_buckets": 34},
    },
    # Distances in buckets from 4 on, and beyond the last; maps of its own for them.
    "deberta_v2_a": {
        "model": "DebertaV2",
        "lm": "DebertaV2ForMaskedLM",
        "n_segments": 2,
        "config": {"vocab_size": 47, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
                   "intermediate_size": 28, "max_position_embeddings": 19, "type_vocab_size": 2,
                   "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 8,
                   "max_relative_positions": 14, "norm_rel_ebd": "layer_norm", "pooler_dropout": 0,
                   "position_biased_input": True},
    },
    # As version 3: those of keys and queries, no positions in the embeddings.
    "deberta_v2_b": {
        "model": "DebertaV2",
        "lm": "DebertaV2ForMaskedLM",
        "lengths": [13, 2, 33, 1, 7],
        "config": {"vocab_size": 53, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 5,
                   "intermediate_size": 34, "max_position_embeddings": 40, "hidden_act": "gelu_new",
                   "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 12,
                   "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False,
                   "pooler_hidden_act": "tanh", "layer_norm_eps": 1e-6},
    },
    # A vector for each distance, which queries alone meet; the newer head.
    "deberta_v2_c": {
        "model": "DebertaV2",
        "lm": "DebertaV2ForMaskedLM",
        "zero": ["key_proj"],
        "config": {"vocab_size": 43, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 2,
                   "intermediate_size": 25, "max_position_embeddings": 17, "relative_attention": True,
                   "pos_att_type": "c2p", "max_relative_positions": 11, "position_biased_input": False,
                   "legacy": False, "pad_token_id": 4},
    },
}  # fmt: skip
