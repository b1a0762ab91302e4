"""Record reference tensors of tiny random models of every family but BERT for the parity tests of warmstart.

Run by hand, in the environment of make_reference.py; names as arguments record only those:

    python tests/reference/make_families.py [NAME...]

Writes `families/<name>/`, beside this file: the model as transformers saves it and what transformers computes from it
in float64, each sequence alone and without padding, stored as float32. Seeds are fixed: two runs write identical bytes.
README.md says what each tensor is. Shapes: T tokens, B sequences, D hidden, C classes, V vocabulary, P predictions.
"""

import copy
import re
import sys
import tempfile
import zlib
from itertools import accumulate, pairwise
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.overrides import TorchFunctionMode

HERE = Path(__file__).resolve().parent / "families"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
WEIGHT_STD = 0.2
CLASSES = ["negative", "neutral", "positive"]
LENGTHS = [7, 1, 17, 2, 13]
LABELS = [2, 0, 1, 1, 0]
# Below this a gradient is rounding of float64; the smallest recorded one is far above.
ZERO = 1e-12
# Softmax does not see a shift, so a key's bias changes nothing, unless the key is rotated.
ZERO_GRADIENTS = re.compile(r"\.(key|k_lin)\.bias$")

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
# none (parameters that these runs do not touch), "hidden_states_only" false.
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
}  # fmt: skip


class InDouble(TorchFunctionMode):
    """Make float64 of float32: RMS norms, softmax and rotations of transformers ask for float32 by name."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        wide = [torch.float64 if value is torch.float32 else value for value in args]
        return function(*wide, **{k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()})


def generator(seed, purpose):
    return torch.Generator().manual_seed(1000 * seed + purpose)


def randomize(model, parameters, random):
    """Draw each anew: N(0, WEIGHT_STD), around 1 for norm weights, so that none is left at its default."""
    norms = {f"{name}.weight" for name, module in model.named_modules() if "Norm" in type(module).__name__}
    with torch.no_grad():
        for name, parameter in parameters:
            noise = WEIGHT_STD * torch.randn(parameter.shape, generator=random)
            parameter.copy_(noise + 1 if name in norms else noise)
    return model.eval()


def make_config(spec):
    make = getattr(transformers, spec["model"] + "Config")
    no_dropout = {name: 0.0 for name, value in make().to_dict().items() if "drop" in name and value is not None}
    labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {label: i for i, label in enumerate(CLASSES)}}
    return make(**no_dropout | spec["config"] | labels)


def make(name, config):
    return getattr(transformers, name)._from_config(copy.deepcopy(config), attn_implementation="eager")


def make_classifier(spec, seed):
    model = make(spec["model"] + "ForSequenceClassification", make_config(spec))
    return randomize(model, parameters_of(model), generator(seed, 0))


def make_language_model(spec, classifier, seed):
    """The backbone of the classifier, its pooler left out, with the head of a language model."""
    model = make(spec["lm"], make_config(spec))
    missing, unexpected = model.base_model.load_state_dict(classifier.base_model.state_dict(), strict=False)
    assert not missing and all(name.startswith("pooler") for name in unexpected)
    return randomize(model, head_parameters(model), generator(seed, 1))


def parameters_of(model):
    """Each once, a tied one under the name that transformers saves (torch has the one it meets first)."""
    named = model.named_parameters(remove_duplicate=False)
    return [(name, parameter) for name, parameter in named if name not in model.all_tied_weights_keys]


def head_parameters(model):
    return [(n, p) for n, p in parameters_of(model) if not n.startswith(f"{model.base_model_prefix}.")]


def random_ids(config, n, random):
    """No id is `pad_token_id`: torch gives its embedding row no gradient."""
    if (pad := config.pad_token_id) is None:
        return torch.randint(0, config.vocab_size, (n,), generator=random)
    ids = torch.randint(0, config.vocab_size - 1, (n,), generator=random)
    ids += ids >= pad
    assert not (ids == pad).any()
    return ids


def make_batch(spec, config, seed):
    random, lengths = generator(seed, 2), spec.get("lengths", LENGTHS)
    return {
        "ids": random_ids(config, sum(lengths), random),
        "segments": random_segments(spec, sum(lengths), random),
        "cu_seqlens": torch.tensor(list(accumulate(lengths, initial=0))),
        "labels": torch.tensor(LABELS),
    }


def random_segments(spec, n, random):
    return torch.randint(0, max(spec.get("n_segments", 0), 1), (n,), generator=random)


def make_lm_labels(batch, config, seed):
    """Random targets for about half of the tokens."""
    random = generator(seed, 3)
    targets = torch.randint(0, config.vocab_size, batch["ids"].shape, generator=random)
    return targets.masked_fill(torch.rand(targets.shape, generator=random) < 0.5, -100)


def inputs_of(spec, ids, segments):
    return {"input_ids": ids[None]} | ({"token_type_ids": segments[None]} if "n_segments" in spec else {})


def run(model, spec, batch):
    """The outputs for each sequence of the batch."""
    outputs = []
    for start, end in pairwise(batch["cu_seqlens"].tolist()):
        inputs = inputs_of(spec, batch["ids"][start:end], batch["segments"][start:end])
        outputs.append(model(**inputs, output_hidden_states=True))
        assert len(outputs[-1].hidden_states) == model.config.num_hidden_layers + 1
        assert torch.equal(outputs[-1].hidden_states[-1], model.base_model(**inputs)[0])
    return outputs


def layers_of(outputs, prefix="hidden_states"):
    layers = zip(*(out.hidden_states for out in outputs), strict=True)
    return {f"{prefix}.{i}": torch.cat(layer, dim=1)[0] for i, layer in enumerate(layers)}


def gradients_of(loss, model, prefix, unused=()):
    names, parameters = zip(*((n, p) for n, p in parameters_of(model) if n not in unused), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    for name, gradient in gradients.items():
        zero = gradient.abs().max() < ZERO
        assert zero == bool(ZERO_GRADIENTS.search(name)), f"gradient of {name}: up to {gradient.abs().max()}"
    return {f"{prefix}.{name}": gradient for name, gradient in gradients.items()}


def next_token_loss(logits):
    """Mean over the tokens that have a next one in their sequence; `logits` and ids of each sequence."""
    rows, targets = zip(*((rows[:-1], ids[1:]) for rows, ids in logits), strict=True)
    return cross_entropy(torch.cat(rows), torch.cat(targets))


def record_classifier(model, spec, batch):
    outputs = run(model, spec, batch)
    layers = layers_of(outputs)
    if spec.get("hidden_states_only"):
        return layers
    logits = torch.cat([out.logits for out in outputs])
    loss = cross_entropy(logits, batch["labels"])
    gradients = gradients_of(loss, model, "grad", spec.get("unused", ()))
    return layers | {"logits": logits, "loss": loss[None]} | gradients


def record_language_model(model, spec, batch, seed):
    rows = [out.logits[0] for out in run(model, spec, batch)]
    logits = torch.cat(rows)
    if spec.get("next"):
        loss = next_token_loss(zip(rows, batch["ids"].split([len(part) for part in rows]), strict=True))
        inputs = {}
    else:
        inputs = {"lm_labels": make_lm_labels(batch, model.config, seed)}
        loss = cross_entropy(logits, inputs["lm_labels"])
    gradients = gradients_of(loss, model, "lm_grad", spec.get("unused", ()))
    return inputs | {"lm_logits": logits, "lm_loss": loss[None]} | gradients


def record_streams(model, spec, batch, seed):
    """What only XLNet has: memory of a segment before, attention in one direction, and two streams."""
    random, backbone = generator(seed, 4), model.base_model
    first, second, length, n_predictions = 6, 9, 11, 4
    inputs = {}
    for part, n in {"mems.first": first, "mems.second": second, "perm": length}.items():
        inputs[f"{part}.ids"] = random_ids(model.config, n, random)
        inputs[f"{part}.segments"] = random_segments(spec, n, random)

    def inputs_for(part):
        return inputs_of(spec, inputs[f"{part}.ids"], inputs[f"{part}.segments"])

    mems = backbone(**inputs_for("mems.first"), use_mems=True).mems
    remembering = backbone(**inputs_for("mems.second"), mems=mems, use_mems=True, output_hidden_states=True)

    one_way = copy.deepcopy(backbone)
    one_way.attn_type = one_way.config.attn_type = "uni"
    forwards = layers_of(run(one_way, spec, batch), "uni.hidden_states")

    # Predictions are made in a random order: each sees what is given and the predictions before it.
    predicted = torch.randperm(length, generator=random)[:n_predictions]
    order = torch.full((length,), -1)
    order[predicted] = torch.arange(n_predictions)
    mask = ((order[:, None] <= order[None, :]) & (order[None, :] >= 0)).double()
    mapping = torch.nn.functional.one_hot(predicted, length).double()
    inputs["perm.labels"] = torch.randint(0, model.config.vocab_size, (n_predictions,), generator=random)
    logits = model(**inputs_for("perm"), perm_mask=mask[None], target_mapping=mapping[None], use_mems=False).logits[0]
    loss = cross_entropy(logits, inputs["perm.labels"])
    with_memory = {"perm_mask": mask[None], "target_mapping": mapping[None], "mems": mems, "use_mems": True}
    going_on = model(**inputs_for("perm"), **with_memory).logits[0]
    going_on_loss = cross_entropy(going_on, inputs["perm.labels"])
    return {
        **inputs,
        **layers_of([remembering], "mems.hidden_states"),
        **forwards,
        "perm.mask": mask[None],
        "perm.target_mapping": mapping[None],
        "perm.logits": logits,
        "perm.loss": loss[None],
        **gradients_of(loss, model, "perm.grad"),
        "perm_mems.logits": going_on,
        "perm_mems.loss": going_on_loss[None],
        **gradients_of(going_on_loss, model, "perm_mems.grad"),
    }


def record_detector(detector, spec, batch, seed):
    """ELECTRA's other half: which tokens of the batch were replaced by others."""
    random, ids = generator(seed, 6), batch["ids"].clone()
    replaced = torch.rand(len(ids), generator=random) < 0.4
    ids[replaced] = random_ids(detector.config, int(replaced.sum()), random)
    replaced = ids != batch["ids"]
    logits = torch.cat([out.logits[0] for out in run(detector, spec, batch | {"ids": ids})])
    # Over the tokens of all sequences, as `ElectraForPreTraining` does over those of a batch.
    loss = binary_cross_entropy_with_logits(logits, replaced.to(logits.dtype))
    inputs = {"detect.ids": ids, "detect.replaced": replaced.long()}
    return inputs | {"detect.logits": logits, "detect.loss": loss[None]} | gradients_of(loss, detector, "detect.grad")


def save_language_head(model, path):
    """The tensors of the head under the names that transformers saves; a tied matrix is not among them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        saved = load_file(Path(folder) / "model.safetensors")
    head = {name: saved[name] for name in sorted(saved) if not name.startswith(f"{model.base_model_prefix}.")}
    # Tied and untied as configured; nothing of a head may be lost.
    assert head.keys() == {name for name, _ in head_parameters(model)}
    if head:
        save_file(head, path, {"format": "pt"})


def stored(tensor):
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().contiguous()


def record(name, spec, seed):
    folder = HERE / name
    classifier = make_classifier(spec, seed)
    classifier.save_pretrained(folder)
    batch = make_batch(spec, classifier.config, seed)
    tensors = dict(batch)
    with InDouble():
        tensors |= record_classifier(copy.deepcopy(classifier).double(), spec, batch)
    if "lm" in spec:
        language_model = make_language_model(spec, classifier, seed)
        save_language_head(language_model, folder / "lm.safetensors")
        with InDouble():
            language_model = copy.deepcopy(language_model).double()
            tensors |= record_language_model(language_model, spec, batch, seed)
            if spec.get("streams"):
                tensors |= record_streams(language_model, spec, batch, seed)
    if spec.get("detector"):
        detector = make_language_model(spec | {"lm": "ElectraForPreTraining"}, classifier, seed)
        save_language_head(detector, folder / "detector.safetensors")
        with InDouble():
            tensors |= record_detector(copy.deepcopy(detector).double(), spec, batch, seed)
    # One metadata entry only: safetensors writes several in random order.
    made_with = ", ".join(f"{package} {version}" for package, version in VERSIONS.items())
    path = folder / "reference.safetensors"
    save_file({name: stored(tensor) for name, tensor in tensors.items()}, path, {"made_with": made_with})


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in sys.argv[1:] or SPECS:
        record(name, SPECS[name], zlib.crc32(name.encode()))


if __name__ == "__main__":
    main()
