"""Record reference tensors of tiny random models of every family for the parity tests of warmstart.

Run by hand in the environment of make_reference.py:

    python tests/reference/make_families.py [NAME...]

For each model `families/NAME/` gets `config.json` and `model.safetensors` as transformers writes a sequence classifier,
and `reference.safetensors`: what README.md says. Weights are drawn in float32; all that follows is computed in float64
and stored as float32. Each sequence runs alone, without padding. Two runs write identical bytes.
"""

import copy
import sys
from itertools import accumulate, pairwise
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

FOLDER = Path(__file__).resolve().parent / "families"
WEIGHT_STD = 0.2
LENGTHS = [7, 1, 17, 2, 13]
LABELS = [2, 0, 1, 1, 0]
COUNTS = {"num_hidden_layers": 2, "num_attention_heads": 3}
ROTARY = {"hidden_size": 24, "intermediate_size": 22, "vocab_size": 47, "max_position_embeddings": 64} | COUNTS
BERT = {"hidden_size": 24, "intermediate_size": 22, "vocab_size": 47, "max_position_embeddings": 29} | COUNTS
ENCODER = ("ForMaskedLM", BERT)

# Class prefix, suffix of the language model, what the configuration adds.
SPECS = {
    "roberta_a": ("Roberta", *ENCODER, {"pad_token_id": 1, "type_vocab_size": 1}),
    "roberta_b": (
        "XLMRoberta",
        *ENCODER,
        {"pad_token_id": 3, "num_attention_heads": 4, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5},
    ),
    "camembert": ("Camembert", *ENCODER, {"pad_token_id": 1, "num_hidden_layers": 1, "hidden_act": "relu"}),
    "distilbert_a": (
        "DistilBert",
        "ForMaskedLM",
        {"vocab_size": 47, "max_position_embeddings": 17, "n_layers": 3, "n_heads": 3, "dim": 18, "hidden_dim": 26},
        {},
    ),
    "distilbert_b": (
        "DistilBert",
        "ForMaskedLM",
        {"vocab_size": 41, "max_position_embeddings": 23, "n_layers": 2, "n_heads": 5, "dim": 20, "hidden_dim": 12},
        {"activation": "relu", "sinusoidal_pos_embds": True},
    ),
    "electra_a": ("Electra", *ENCODER, {"embedding_size": 10, "num_hidden_layers": 3}),
    "electra_b": ("Electra", *ENCODER, {"embedding_size": 24, "num_attention_heads": 2, "hidden_act": "relu"}),
    "albert_a": ("Albert", *ENCODER, {"embedding_size": 10, "num_hidden_layers": 3}),
    "albert_b": (
        "Albert",
        *ENCODER,
        {"embedding_size": 24, "num_hidden_layers": 4, "num_hidden_groups": 2, "hidden_act": "relu"},
    ),
    "gpt2_a": (
        "GPT2",
        "LMHeadModel",
        {"vocab_size": 47, "n_positions": 17, "n_embd": 18, "n_layer": 3, "n_head": 3},
        {},
    ),
    "gpt2_b": (
        "GPT2",
        "LMHeadModel",
        {"vocab_size": 41, "n_positions": 23, "n_embd": 20, "n_layer": 2, "n_head": 5, "n_inner": 13},
        {"activation_function": "relu", "layer_norm_epsilon": 1e-3, "tie_word_embeddings": False},
    ),
    "llama_a": (
        "Llama",
        "ForCausalLM",
        ROTARY,
        {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "tie_word_embeddings": True},
    ),
    "llama_b": (
        "Llama",
        "ForCausalLM",
        ROTARY,
        {
            "attention_bias": True,
            "mlp_bias": True,
            "num_key_value_heads": 1,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "llama_linear": (
        "Llama",
        "ForCausalLM",
        ROTARY,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}, "num_hidden_layers": 1},
    ),
    "llama_yarn": (
        "Llama",
        "ForCausalLM",
        ROTARY,
        {
            "num_hidden_layers": 1,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 100.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "mistral": ("Mistral", "ForCausalLM", ROTARY, {"sliding_window": 5, "head_dim": 6, "num_key_value_heads": 1}),
    "qwen2": (
        "Qwen2",
        "ForCausalLM",
        ROTARY,
        {
            "num_hidden_layers": 3,
            "num_key_value_heads": 3,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 1,
        },
    ),
    "qwen3": (
        "Qwen3",
        "ForCausalLM",
        ROTARY,
        {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "tie_word_embeddings": True},
    ),
    "modernbert_a": (
        "ModernBert",
        "ForMaskedLM",
        ROTARY,
        {"num_hidden_layers": 3, "local_attention": 6, "global_attn_every_n_layers": 2, "pad_token_id": 0},
    ),
    "modernbert_b": (
        "ModernBert",
        "ForMaskedLM",
        ROTARY,
        {
            "pad_token_id": 0,
            "local_attention": 9,
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
            "classifier_pooling": "mean",
            "hidden_activation": "relu",
            "classifier_activation": "relu",
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 300.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 70.0},
            },
        },
    ),
}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ROBERTA = ("Roberta", "XLMRoberta", "Camembert")


def make_config(prefix, base, more):
    config = getattr(transformers, prefix + "Config")(**TOKENS | base | more)
    for name, value in vars(config).items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    config.id2label = dict(enumerate(["negative", "neutral", "positive"]))
    config.label2id = {label: i for i, label in config.id2label.items()}
    return config


def randomize(model, seed):
    """Draw every parameter anew: N(0, WEIGHT_STD), around 1 for norm weights, so that none is left at its default."""
    generator = torch.Generator().manual_seed(seed)
    norms = {f"{name}.weight" for name, module in model.named_modules() if "Norm" in type(module).__name__}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = WEIGHT_STD * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise + 1 if name in norms else noise)
    return model.eval()


def make_model(prefix, head, config, seed):
    cls = getattr(transformers, prefix + head)
    return randomize(cls._from_config(copy.deepcopy(config), attn_implementation="eager"), seed)


def batch_of(config, prefix, seed):
    """Packed random input, without the padding id; one sequence as long as positions allow, if they are few."""
    generator = torch.Generator().manual_seed(seed)
    most = config.max_position_embeddings - (config.pad_token_id + 1 if prefix in ROBERTA else 0)
    lengths = [min(most, 64) if n == max(LENGTHS) and most < 40 else n for n in LENGTHS]
    n, first = sum(lengths), config.pad_token_id + 1
    segments = getattr(config, "type_vocab_size", 0)
    return {
        "ids": torch.randint(first, config.vocab_size, (n,), generator=generator),
        "segments": torch.randint(0, segments, (n,), generator=generator) if segments else torch.zeros(n, dtype=int),
        "cu_seqlens": torch.tensor(list(accumulate(lengths, initial=0))),
        "labels": torch.tensor(LABELS),
        "lm_labels": torch.where(
            torch.rand(n, generator=generator) < 0.5,
            -100,
            torch.randint(0, config.vocab_size, (n,), generator=generator),
        ),
    }


def parameters_of(model):
    """Names and parameters; one that is tied has its name in the backbone."""
    inside = f"{model.base_model_prefix}."
    every = sorted(model.named_parameters(remove_duplicate=False), key=lambda item: not item[0].startswith(inside))
    names, parameters = {}, {}
    for name, parameter in every:
        if id(parameter) not in names:
            names[id(parameter)] = name
            parameters[name] = parameter
    return parameters


def gradients_of(loss, model):
    parameters = parameters_of(model)
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}


def run(model, batch, takes_segments):
    for start, end in pairwise(batch["cu_seqlens"].tolist()):
        inputs = {"input_ids": batch["ids"][None, start:end]}
        if takes_segments:
            inputs["token_type_ids"] = batch["segments"][None, start:end]
        yield start, end, model(**inputs, output_hidden_states=True)


def record(name, spec, seed):
    prefix, language, base, more = spec
    config = make_config(prefix, base, more)
    folder = FOLDER / name
    batch = batch_of(config, prefix, seed + 100)
    takes_segments = getattr(config, "type_vocab_size", 0) > 0
    classifier = make_model(prefix, "ForSequenceClassification", config, seed)
    classifier.save_pretrained(folder)
    wide = copy.deepcopy(classifier).double()
    outputs = [out for *_, out in run(wide, batch, takes_segments)]
    hidden = [torch.cat(layer, dim=1)[0] for layer in zip(*(out.hidden_states for out in outputs), strict=True)]
    logits = torch.cat([out.logits for out in outputs])
    loss = cross_entropy(logits, batch["labels"])
    gradients = gradients_of(loss, wide)

    model = make_model(prefix, language, config, seed + 200)
    body = {k: v for k, v in classifier.base_model.state_dict().items() if k in model.base_model.state_dict()}
    model.base_model.load_state_dict(body)
    model.tie_weights()
    own = {k: v for k, v in parameters_of(model).items() if not k.startswith(model.base_model_prefix + ".")}
    wide = copy.deepcopy(model).double()
    lm_logits = torch.cat([out.logits[0] for *_, out in run(wide, batch, takes_segments)])
    if language == "ForMaskedLM":
        lm_loss = cross_entropy(lm_logits, batch["lm_labels"])
    else:
        inside = [t for start, end in pairwise(batch["cu_seqlens"].tolist()) for t in range(start, end - 1)]
        lm_loss = cross_entropy(lm_logits[inside], batch["ids"][torch.tensor(inside) + 1])
    lm_gradients = gradients_of(lm_loss, wide)
    zero = sorted(k for k, g in (gradients | lm_gradients).items() if not g.any())
    print(f"{name}: no gradient: {zero}" if zero else name)

    computed = {
        **{f"hidden_states.{i}": layer for i, layer in enumerate(hidden)},
        "logits": logits,
        "loss": loss[None],
        **{f"grad.{k}": g for k, g in gradients.items()},
        "lm_logits": lm_logits,
        "lm_loss": lm_loss[None],
        **{f"lm_grad.{k}": g for k, g in lm_gradients.items()},
        **{f"lm.{k}": v for k, v in own.items()},
    }
    floats = {k: v.detach().float().contiguous() for k, v in computed.items()}
    save_file(batch | floats, folder / "reference.safetensors")


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for seed, (name, spec) in enumerate(SPECS.items()):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            record(name, spec, 10 + seed)


if __name__ == "__main__":
    main()
