"""Record reference tensors of tiny random models of every family for the parity tests of warmstart.

Run by hand, in the environment of make_reference.py; names as arguments record only those:

    python tests/reference/make_families.py [NAME...]

Writes `families/<name>/`, beside this file: the model as transformers saves it and what transformers computes from it
in float64, each sequence alone and without padding, stored as float32. Seeds are fixed: two runs write identical bytes.
README.md says what each tensor is. Shapes: T tokens, B sequences, D hidden, C classes, V vocabulary, P predictions.
"""

import copy
import sys
import tempfile
import zlib
from itertools import accumulate, pairwise
from pathlib import Path

import torch
import transformers
from family_specs import LENGTHS, SPECS
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.overrides import TorchFunctionMode

HERE = Path(__file__).resolve().parent / "families"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
WEIGHT_STD = 0.2
CLASSES = ["negative", "neutral", "positive"]
LABELS = [2, 0, 1, 1, 0]
# Below this a gradient is rounding of float64; the smallest recorded one is far above.
ZERO = 1e-12
# Softmax does not see a shift, so a key's bias changes nothing, unless the key is rotated.
ZERO_GRADIENTS = ("key", "k_lin", "attn.k", "pos_key_proj")


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


def with_head(name, spec, classifier, seed):
    """The backbone of the classifier, its pooler left out, with the head of the class `name`."""
    model = make(name, make_config(spec))
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


def gradients_of(loss, model, prefix, spec=None):
    unused, zeros = (spec or {}).get("unused", ()), (*ZERO_GRADIENTS, *(spec or {}).get("zero", ()))
    names, parameters = zip(*((n, p) for n, p in parameters_of(model) if n not in unused), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    for name, gradient in gradients.items():
        zero = gradient.abs().max() < ZERO
        assert zero == name.endswith(tuple(f".{map}.bias" for map in zeros)), (
            f"gradient of {name}: up to {gradient.abs().max()}"
        )
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
    gradients = gradients_of(loss, model, "grad", spec)
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
    gradients = gradients_of(loss, model, "lm_grad", spec)
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


def save_head(model, path, computed=None):
    """The head under the names that transformers saves, without a tied matrix, and what is `computed` with it."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        saved = load_file(Path(folder) / "model.safetensors")
    head = {name: saved[name] for name in sorted(saved) if not name.startswith(f"{model.base_model_prefix}.")}
    # Tied and untied as configured; nothing of a head may be lost.
    assert head.keys() == {name for name, _ in head_parameters(model)}
    head |= {name: stored(tensor) for name, tensor in (computed or {}).items()}
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
    if not spec.get("hidden_states_only"):
        tagger = with_head(spec["model"] + "ForTokenClassification", spec, classifier, seed)
        with InDouble():
            outputs = run(copy.deepcopy(tagger).double(), spec, batch)
        save_head(tagger, folder / "tagger.safetensors", {"tag_logits": torch.cat([out.logits[0] for out in outputs])})
    if "lm" in spec:
        language_model = with_head(spec["lm"], spec, classifier, seed)
        save_head(language_model, folder / "lm.safetensors")
        with InDouble():
            language_model = copy.deepcopy(language_model).double()
            tensors |= record_language_model(language_model, spec, batch, seed)
            if spec.get("streams"):
                tensors |= record_streams(language_model, spec, batch, seed)
    if spec.get("detector"):
        detector = with_head("ElectraForPreTraining", spec, classifier, seed)
        save_head(detector, folder / "detector.safetensors")
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
