"""Record reference tensors of tiny random BERTs for the parity tests of warmstart.

Run by hand, in an environment of its own; the outputs are committed, so the tests need neither torch nor transformers:

    python -m venv /tmp/reference && /tmp/reference/bin/pip install torch transformers
    /tmp/reference/bin/python tests/reference/make_reference.py

Weights are drawn in float32. Everything derived from them (hidden states, logits, losses, gradients, training curves)
is computed in float64 and stored as float32 in safetensors, as float64 in JSON. Each sequence runs alone, without
padding; per-token results are concatenated in packed order. Seeds are fixed: two runs write identical bytes. README.md,
beside this file, says what each output is. Shapes: T tokens, B sequences, D hidden, C classes.
"""

import copy
import json
from collections import OrderedDict
from itertools import accumulate, pairwise
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertForSequenceClassification,
    BertTokenizer,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

HERE = Path(__file__).resolve().parent
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
WEIGHT_STD = 0.2

# `loss` holds the keyword arguments of torch.nn.functional.cross_entropy.
SPECS = {
    "bert_a": {
        "seed": 1,
        "config": {
            "vocab_size": 67,
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "intermediate_size": 40,
            "max_position_embeddings": 41,
            "type_vocab_size": 2,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
        },
        "classes": ["negative", "neutral", "positive"],
        "lengths": [7, 1, 17, 2, 13],
        "labels": [2, 0, 1, 1, 0],
        "loss": {},
    },
    "bert_b": {
        "seed": 2,
        "config": {
            "vocab_size": 53,
            "hidden_size": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 5,
            "intermediate_size": 52,
            "max_position_embeddings": 33,
            "type_vocab_size": 3,
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-5,
        },
        "classes": ["acq", "crude", "earn", "trade"],
        "lengths": [13, 2, 33, 1, 7],  # 33 fills the position table
        "labels": [1, 3, -100, 0, 2],
        "loss": {"label_smoothing": 0.1, "weight": [1.0, 2.0, 0.5, 1.5], "ignore_index": -100},
    },
}

ADAMW = {"lr": 1e-2, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
SCHEDULE = {"num_warmup_steps": 3, "num_training_steps": 12}
MAX_GRAD_NORM = 1.0
N_STEPS = 10
SCHEDULES = {
    "training.json": ("linear", get_linear_schedule_with_warmup),
    "training_cosine.json": ("cosine", get_cosine_schedule_with_warmup),
}

# 53 entries, the vocabulary size of bert_b, apart by white space.
VOCAB = """[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat on mat un ##aff ##able ##ing run ##n ##s a b c i e s The Cat cafe
café naive naïve resume ##e ##i ##a ##t ##r fi ! , . ' ? - $ 1 2 ##0 ##1 我 爱 北 🙂 # ¿"""

# A text, or a pair of texts.
TEXTS = [
    "",
    "The cat sat on the mat.",
    "unaffable unaffabl running cats",  # pieces; a word that falls apart halfway is one [UNK]
    "Café CAFÉ cafe\u0301 naïve Résumé İ",  # composed and decomposed accents, a letter that lowers to two characters
    "我爱北京cat爱",  # Chinese without spaces, one character unknown
    "the cat's mat,on-the $1001?! #1 ¿the?",
    "c\x00a\ufffdt\u200b\tthe\r\ncat\x7f sat\u00a0on\u3000mat\u200d",  # controls vanish, any white space splits
    "🙂 🙂🙂 👩\u200d👧 cat🙂",  # emoji, alone and joined
    "zebra Ж ﬁ x" + "a" * 120,  # unknown words; a ligature; a word beyond WordPiece's 100 characters
    "  the   cat  ",
    "the [MASK] sat [SEP] on [mask] [UNK]",  # special tokens written in the text
    "!\u2014\u2026 \u00ab the \u00bb ''",  # Unicode punctuation
    ("The cat", "sat on Café 爱."),
    ("", "the mat"),
    ("the mat", ""),
]


def randomize(model, seed):
    """Draw every parameter anew: N(0, WEIGHT_STD), around 1 for norm weights, so that none is left at its default."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = WEIGHT_STD * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise + 1 if name.endswith("LayerNorm.weight") else noise)
    return model.eval()


def make_config(spec, **more):
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    return BertConfig(**spec["config"], **no_dropout, **more)


def make_model(spec):
    labels = dict(enumerate(spec["classes"]))
    config = make_config(spec, id2label=labels, label2id={label: i for i, label in labels.items()})
    return randomize(BertForSequenceClassification._from_config(config, attn_implementation="eager"), spec["seed"])


def make_batch(spec):
    """Packed random input. No id is 0: torch gives the padding row of the embedding no gradient."""
    generator = torch.Generator().manual_seed(spec["seed"] + 100)
    config, n_tokens = spec["config"], sum(spec["lengths"])
    return {
        "ids": torch.randint(1, config["vocab_size"], (n_tokens,), generator=generator),
        "segments": torch.randint(0, config["type_vocab_size"], (n_tokens,), generator=generator),
        "cu_seqlens": torch.tensor(list(accumulate(spec["lengths"], initial=0))),
        "labels": torch.tensor(spec["labels"]),
        "multi_targets": torch.randint(0, 2, (len(spec["labels"]), len(spec["classes"])), generator=generator).float(),
    }


def forward(model, batch):
    """Hidden states (embeddings first) [T, D] each, pooled [B, D], logits [B, C]."""
    outputs = [
        model.bert(
            input_ids=batch["ids"][None, start:end],
            token_type_ids=batch["segments"][None, start:end],
            output_hidden_states=True,
        )
        for start, end in pairwise(batch["cu_seqlens"].tolist())
    ]
    hidden_states = [torch.cat(layer, dim=1)[0] for layer in zip(*(out.hidden_states for out in outputs), strict=True)]
    pooled = torch.cat([out.pooler_output for out in outputs])
    return hidden_states, pooled, model.classifier(pooled)


def loss_of(logits, labels, loss):
    options = loss | ({"weight": logits.new_tensor(loss["weight"])} if "weight" in loss else {})
    return cross_entropy(logits, labels, **options)


def record_reference(model, batch, spec, path):
    model = copy.deepcopy(model).double()
    hidden_states, pooled, logits = forward(model, batch)
    loss = loss_of(logits, batch["labels"], spec["loss"])
    multi_loss = binary_cross_entropy_with_logits(logits, batch["multi_targets"].double())
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    head = {name: parameter for name, parameter in model.named_parameters() if name.startswith("classifier.")}
    multi_gradients = torch.autograd.grad(multi_loss, list(head.values()))
    computed = {
        **{f"hidden_states.{i}": layer for i, layer in enumerate(hidden_states)},
        "pooled": pooled,
        "logits": logits,
        "loss": loss[None],
        **{f"grad.{name}": gradient for name, gradient in zip(names, gradients, strict=True)},
        "multi_loss": multi_loss[None],
        **{f"multi_grad.{name}": gradient for name, gradient in zip(head, multi_gradients, strict=True)},
    }
    stored = {name: tensor.detach().float().contiguous() for name, tensor in computed.items()}
    # One metadata entry only: safetensors writes several in random order.
    save_file(batch | stored, path, {"made_with": ", ".join(f"{name} {v}" for name, v in VERSIONS.items())})


def record_training(model, batch, spec, schedule_name, make_schedule, path):
    """N_STEPS of AdamW on the one batch, in float64: warm-up, decay of the learning rate, clipping by global norm."""
    model = copy.deepcopy(model).double()
    named = dict(model.named_parameters())
    no_decay = [name for name in named if name.endswith("bias") or "LayerNorm" in name]
    groups = [
        {"params": [parameter for name, parameter in named.items() if name not in no_decay]},
        {"params": [named[name] for name in no_decay], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, **ADAMW, foreach=False)
    scheduler = make_schedule(optimizer, **SCHEDULE)
    losses, grad_norms, learning_rates = [], [], []
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        loss = loss_of(forward(model, batch)[2], batch["labels"], spec["loss"])
        loss.backward()
        losses.append(loss.item())
        grad_norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM).item())
        learning_rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    settings = {
        "dtype": "float64",
        "optimizer": {"name": "AdamW", **ADAMW, "no_decay": no_decay},
        "schedule": {"name": schedule_name, **SCHEDULE},
        "max_grad_norm": MAX_GRAD_NORM,
        "loss": {"label_smoothing": 0.0, "weight": None, "ignore_index": -100} | spec["loss"],
    }
    results = {"losses": losses, "grad_norms": grad_norms, "learning_rates": learning_rates}
    write_json(path, {"versions": VERSIONS, "settings": settings, **results})


def save_bin(folder, state_dict, config, architecture, dtype="float32"):
    folder.mkdir(exist_ok=True)
    config.architectures, config.dtype = [architecture], dtype
    config.save_pretrained(folder)
    torch.save(state_dict, folder / "pytorch_model.bin")


def save_variants(model, spec):
    """The weights of bert_b in the other shapes that checkpoints come in."""
    model.save_pretrained(HERE / "bert_b_sharded", max_shard_size="16KB")
    save_bin(HERE / "bert_b_bin", model.bert.state_dict(), make_config(spec), "BertModel")

    half = copy.deepcopy(model.bert).half().state_dict()
    # A buffer that transformers before 4.31 wrote along.
    half["embeddings.position_ids"] = torch.arange(spec["config"]["max_position_embeddings"])[None]
    save_bin(HERE / "bert_b_bin_f16", half, make_config(spec), "BertModel", "float16")

    pretraining = randomize(BertForPreTraining(make_config(spec)), spec["seed"] + 200)
    pretraining.bert.load_state_dict(model.bert.state_dict())
    pretraining.tie_weights()
    legacy = OrderedDict(
        (name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"), tensor)
        for name, tensor in pretraining.state_dict().items()
        if name != "cls.predictions.decoder.bias"  # came later; it is cls.predictions.bias
    )
    save_bin(HERE / "bert_b_legacy", legacy, make_config(spec), "BertForPreTraining")


def record_tokens(folder, spec):
    max_length = spec["config"]["max_position_embeddings"]
    vocab = VOCAB.split()
    assert len(vocab) == len(set(vocab)) == spec["config"]["vocab_size"]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8", newline="\n")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": max_length})
    expected = {"versions": VERSIONS}
    for do_lower_case in (True, False):
        tokenizer = BertTokenizer.from_pretrained(folder, do_lower_case=do_lower_case)
        encoded = []
        for item in TEXTS:
            text, pair = item if isinstance(item, tuple) else (item, None)
            # As a batch of one: the call on single strings takes an empty second text for none.
            batch = tokenizer([text], None if pair is None else [pair], return_offsets_mapping=True)
            encoded.append(
                {
                    "text": text,
                    "pair": pair,
                    "tokens": batch.tokens(0),
                    "ids": batch["input_ids"][0],
                    "token_type_ids": batch["token_type_ids"][0],
                    "offsets": batch["offset_mapping"][0],
                }
            )
        expected[f"do_lower_case_{do_lower_case}".lower()] = encoded
    write_json(folder / "expected_tokens.json", expected, indent=None)


def write_json(path, content, indent=2):
    path.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8", newline="\n")


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name, spec in SPECS.items():
        folder = HERE / name
        model, batch = make_model(spec), make_batch(spec)
        model.save_pretrained(folder)
        record_reference(model, batch, spec, folder / "reference.safetensors")
        for filename, (schedule_name, make_schedule) in SCHEDULES.items():
            record_training(model, batch, spec, schedule_name, make_schedule, folder / filename)
        if name == "bert_b":
            save_variants(model, spec)
            record_tokens(HERE / "bert_b_legacy", spec)


if __name__ == "__main__":
    main()
