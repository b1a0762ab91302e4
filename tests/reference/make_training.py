"""Train tiny models with torch for ten steps, to hold whole runs of warmstart's `fit` and `pretrain` against.

Run by hand, in the environment of make_reference.py, after the batches that warmstart's runs see have been written:

    cargo test --release --locked --no-default-features --test rust -- --ignored training_parity
    python tests/reference/make_training.py

Reads `settings.json` and `batches.json` of each folder in `training/`, beside this file, and writes `torch.json` (of
each step the loss, the norm of the gradient before clipping, the learning rate of the head, the tokens) and
`weights.safetensors` (every weight that learns, after the last step). All is computed in float64, the weights are
stored as float32. There is no accumulation here: the loss of a step is torch's mean over all that its batches ask. Each
sequence runs alone, without padding. Two runs write identical bytes.
"""

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, BertForMaskedLM, BertForSequenceClassification, GPT2LMHeadModel, get_scheduler

HERE = Path(__file__).resolve().parent
RUNS = HERE / "training"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
N_LAYERS = 2


def with_weights(model_class, folder, weights):
    """A model of the configuration in `folder`, without dropout, every weight of it among `weights`."""
    config = AutoConfig.from_pretrained(HERE / folder)
    model = model_class._from_config(config, attn_implementation="eager")
    missing, _ = model.load_state_dict(weights, strict=False)
    assert set(missing) <= set(model.all_tied_weights_keys), missing
    model.tie_weights()
    assert all(module.p == 0.0 for module in model.modules() if isinstance(module, torch.nn.Dropout))
    return model.double().train()


def renamed(weights):
    """A checkpoint in the naming of 2019 with the names of today."""
    return {name.replace(".gamma", ".weight").replace(".beta", ".bias"): tensor for name, tensor in weights.items()}


def classifier(settings):
    model = with_weights(BertForSequenceClassification, "bert_b", load_file(HERE / "bert_b/model.safetensors"))
    if settings["start"] == "zero":
        for parameter in model.classifier.parameters():
            torch.nn.init.zeros_(parameter)
    if settings["strategy"]["method"] == "linear_probing":
        model.bert.requires_grad_(False)
    return model


def masked_model(_):
    weights = torch.load(HERE / "bert_b_legacy/pytorch_model.bin", weights_only=True)
    return with_weights(BertForMaskedLM, "bert_b_legacy", renamed(weights))


def causal_model(_):
    return with_weights(GPT2LMHeadModel, "families/gpt2_a", load_file(HERE / "families/gpt2_a/model.safetensors"))


def classification_loss(model, settings, batches, step):
    """The mean over the texts of a step, which torch defines for class weights with smoothing, and its tokens."""
    texts = [text for batch in step for text in batch]
    ids = [batches["ids"][text] for text in texts]
    logits = torch.cat([model(input_ids=torch.tensor([own])).logits for own in ids])
    labels = torch.tensor([settings["labels"][text] for text in texts])
    weight = settings["class_weight"] and logits.new_tensor(settings["class_weight"])
    loss = cross_entropy(logits, labels, weight=weight, label_smoothing=settings["strategy"]["label_smoothing"])
    return loss, sum(map(len, ids))


def language_loss(model, settings, batches, step):
    """The mean of the tokens that a step asks for, and its tokens."""
    answers, labels, n_tokens = [], [], 0
    for batch in step:
        assert not any(batch["segments"])
        sequences = [batch["ids"][start:end] for start, end in pairwise(batch["cu_seqlens"])]
        logits = torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences])
        answers.append(logits[batch["rows"]])
        labels += [-100 if label is None else label for label in batch["labels"]]
        n_tokens += len(batch["ids"])
        if settings["objective"]["kind"] == "causal":
            following = [after for ids in sequences for after in [*ids[1:], None]]
            assert batch["labels"] == following
    return cross_entropy(torch.cat(answers), torch.tensor(labels), ignore_index=-100), n_tokens


def layers_below_top(name):
    """The topmost layer and all that comes after it: 0; the embeddings: as many as there are layers."""
    if layer := re.search(r"\.(?:layer|h)\.(\d+)\.", name):
        return N_LAYERS - 1 - int(layer[1])
    return N_LAYERS if re.search(r"\.embeddings\.|\.wte\.|\.wpe\.", name) else 0


def trained(model):
    """Each parameter that learns, a tied one once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def groups_of(model, strategy):
    """One for each parameter: matrices decay, vectors (biases and norms) do not."""
    for name, parameter in trained(model).items():
        yield {
            "params": [parameter],
            "lr": strategy["learning_rate"] * strategy["layer_decay"] ** layers_below_top(name),
            "weight_decay": strategy["weight_decay"] if parameter.dim() > 1 else 0.0,
        }


def train(model, loss_of, settings, batches):
    strategy, n_steps = settings["strategy"], settings["max_steps"]
    assert len(batches["steps"]) == n_steps
    betas = (strategy["beta1"], strategy["beta2"])
    optimizer = torch.optim.AdamW(groups_of(model, strategy), betas=betas, eps=strategy["epsilon"], foreach=False)
    warmup = math.ceil(strategy["warmup_ratio"] * n_steps)
    scheduler = get_scheduler(strategy["schedule"], optimizer, num_warmup_steps=warmup, num_training_steps=n_steps)
    steps = {"losses": [], "grad_norms": [], "learning_rates": [], "tokens": []}
    for step in batches["steps"]:
        optimizer.zero_grad()
        loss, n_tokens = loss_of(model, settings, batches, step)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), strategy["max_grad_norm"])
        steps["losses"].append(loss.item())
        steps["grad_norms"].append(norm.item())
        steps["learning_rates"].append(max(scheduler.get_last_lr()))
        steps["tokens"].append(n_tokens)
        optimizer.step()
        scheduler.step()
    return steps


def check_that_much_is_seen(settings, batches, steps):
    """Accumulation with a part of a group, steps that are clipped and others, none on the edge."""
    sizes = {len(step) for step in batches["steps"]}
    limit, norms = settings["strategy"]["max_grad_norm"], steps["grad_norms"]
    assert len(sizes) > 1 and max(sizes) == settings["accumulation_steps"], sizes
    assert 2 <= sum(norm > limit for norm in norms) <= len(norms) - 2, norms
    assert all(abs(norm / limit - 1) > 1e-3 for norm in norms), norms


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    runs = {
        "classifier": (classifier, classification_loss),
        "probe": (classifier, classification_loss),
        "masked": (masked_model, language_loss),
        "causal": (causal_model, language_loss),
    }
    for name, (make, loss_of) in runs.items():
        folder = RUNS / name
        settings, batches = (json.loads((folder / f"{part}.json").read_text()) for part in ("settings", "batches"))
        model = make(settings)
        steps = train(model, loss_of, settings, batches)
        print(name, "norms", *(f"{norm:.4g}" for norm in steps["grad_norms"]))
        check_that_much_is_seen(settings, batches, steps)
        content = json.dumps({"versions": VERSIONS, **steps}, indent=2) + "\n"
        (folder / "torch.json").write_text(content, encoding="utf-8", newline="\n")
        weights = {n: p.detach().float().contiguous() for n, p in trained(model).items()}
        # One metadata entry only: safetensors writes several in random order.
        made_with = ", ".join(f"{package} {version}" for package, version in VERSIONS.items())
        save_file(weights, folder / "weights.safetensors", {"made_with": made_with})


if __name__ == "__main__":
    main()
