"""Record small adapters as peft saves them and what peft computes with them, for the parity tests of warmstart.

Run by hand, in the environment of make_reference.py with peft 0.21.2; names as arguments record only those:

    python tests/reference/make_adapters.py [CASE...]

Writes `adapters/<case>/`, beside this file, on a model of `families/`: the adapter, and what the model with it gives
each sequence of that model's batch alone, computed in float64 and stored as float32. Seeds are fixed: two runs write
identical bytes. README.md says what each tensor is.
"""

import sys
import zlib
from pathlib import Path

import peft
import torch
import transformers
from family_specs import SPECS
from make_families import VERSIONS as OTHERS
from make_families import WEIGHT_STD, ZERO, InDouble, generator, run, stored
from peft import LoraConfig, MissConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification

HERE = Path(__file__).resolve().parent
VERSIONS = OTHERS | {"peft": peft.__version__}
BERT_MAPS = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
BERT_LAYER, LLAMA_LAYER = "bert.encoder.layer.1", "model.layers.1"

# `merged` is the weight that is recorded with the adapter merged into it. The widths of `bert` are 21 and 30.
CASES = {
    "bert_lora": {
        "base": "bert",
        "config": LoraConfig(r=3, lora_alpha=5, target_modules=BERT_MAPS),
        "merged": f"{BERT_LAYER}.output.dense.weight",
    },
    "bert_patterns": {
        "base": "bert",
        "config": LoraConfig(
            r=4,
            lora_alpha=8,
            target_modules=["query", "value", "intermediate.dense"],
            rank_pattern={"layer.0.attention.self.query": 2},
            alpha_pattern={"intermediate.dense": 3},
            use_rslora=True,
            bias="none",
        ),
        "merged": f"{BERT_LAYER}.intermediate.dense.weight",
    },
    "bert_dora": {
        "base": "bert",
        "config": LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=["query", "output.dense"]),
        "merged": f"{BERT_LAYER}.output.dense.weight",
    },
    "bert_miss": {
        "base": "bert",
        "config": MissConfig(r=3, target_modules=["query", "output.dense"]),
        "merged": f"{BERT_LAYER}.output.dense.weight",
    },
    # Divides neither width.
    "bert_miss_odd": {
        "base": "bert",
        "config": MissConfig(r=4, target_modules=["query", "output.dense"]),
        "merged": f"{BERT_LAYER}.output.dense.weight",
    },
    "bert_bias": {
        "base": "bert",
        "config": LoraConfig(r=2, bias="lora_only", target_modules=["value"]),
        "merged": f"{BERT_LAYER}.attention.self.value.weight",
    },
    "gpt2_lora": {
        "base": "gpt2_a",
        "config": LoraConfig(r=3, lora_alpha=5, target_modules=["c_attn", "c_fc", "c_proj"], fan_in_fan_out=True),
        "merged": "transformer.h.1.mlp.c_fc.weight",
    },
    "gpt2_dora": {
        "base": "gpt2_a",
        "config": LoraConfig(r=2, use_dora=True, target_modules=["c_attn"], fan_in_fan_out=True),
        "merged": "transformer.h.1.attn.c_attn.weight",
    },
    # A string is a regular expression.
    "llama_lora": {
        "base": "llama_a",
        "config": LoraConfig(r=2, lora_alpha=6, target_modules=r".*\.(q_proj|v_proj|down_proj|gate_proj)"),
        "merged": f"{LLAMA_LAYER}.mlp.down_proj.weight",
    },
}


def open_base(name):
    """The recorded classifier; made in float32, so that the frequencies of rotations are float32 numbers."""
    folder = HERE / "families" / name
    return AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").double().eval()


def with_adapter(case):
    config = case["config"]
    config.task_type = "SEQ_CLS"
    model = get_peft_model(open_base(case["base"]), config)
    config.base_model_name_or_path = f"families/{case['base']}"
    if isinstance(config.target_modules, set):  # saved in its order, which differs from run to run
        config.target_modules = sorted(config.target_modules)
    return model.eval()


def learned(model):
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def randomize(model, random):
    """Draw each anew, magnitudes around those of the base: float32 numbers, none left at its default."""
    with torch.no_grad():
        for name, parameter in learned(model):
            assert parameter.dtype == torch.float64
            noise = WEIGHT_STD * torch.randn(parameter.shape, generator=random)
            parameter.copy_((parameter * (1 + noise)).float() if "magnitude" in name else noise)


def save(model, folder):
    single = {name: tensor.float() for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=single, save_embedding_layers=False)
    (folder / "README.md").unlink()


def logits_of(classifier, base, batch):
    with InDouble():
        return torch.cat([out.logits for out in run(classifier, SPECS[base], batch)])


def gradients_of(loss, model, saved):
    """By the keys of the file that peft saves: each that is in it has one."""
    names, parameters = zip(*learned(model), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    gradients = get_peft_model_state_dict(model, gradients, save_embedding_layers=False)
    assert gradients.keys() == saved.keys() and len(gradients) == len(names)
    for key, gradient in gradients.items():
        assert gradient.shape == saved[key].shape and gradient.abs().max() > ZERO, key
    return {f"grad.{key}": gradient for key, gradient in gradients.items()}


def merged_weights(folder, base, batch, logits):
    """Those of the base, the saved adapter merged into them, once it is seen that both give the same."""
    model = PeftModel.from_pretrained(open_base(base), folder).eval()
    assert torch.equal(logits_of(model.get_base_model(), base, batch), logits)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits_of(merged, base, batch), logits, rtol=1e-12, atol=1e-12)
    weights = merged.state_dict()
    assert weights.keys() == open_base(base).state_dict().keys()
    return weights


def record(name, case):
    folder, base = HERE / "adapters" / name, case["base"]
    batch = load_file(HERE / "families" / base / "reference.safetensors")
    model = with_adapter(case)
    # Until it is drawn the adapter changes nothing.
    torch.testing.assert_close(logits_of(model.get_base_model(), base, batch).float(), batch["logits"])
    randomize(model, generator(zlib.crc32(name.encode()), 0))
    save(model, folder)
    logits = logits_of(model.get_base_model(), base, batch)
    loss = cross_entropy(logits, batch["labels"])
    tensors = {"logits": logits, "loss": loss[None]}
    tensors |= gradients_of(loss, model, load_file(folder / "adapter_model.safetensors"))
    tensors[f"merged.{case['merged']}"] = merged_weights(folder, base, batch, logits)[case["merged"]]
    # One metadata entry only: safetensors writes several in random order.
    made_with = ", ".join(f"{package} {version}" for package, version in VERSIONS.items())
    path = folder / "reference.safetensors"
    save_file({name: stored(tensor) for name, tensor in tensors.items()}, path, {"made_with": made_with})
    for file in folder.iterdir():
        file.chmod(0o644)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in sys.argv[1:] or CASES:
        record(name, CASES[name])


if __name__ == "__main__":
    main()
