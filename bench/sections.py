"""Everything that ``make bench`` compares and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from bench.section import Bar, Measure, Section, Side
from bench.settings import VARIANTS
from bench.step_model import FAMILIES

MEMORY = Measure("peak_rss_mb", "peak memory MB")
TOKENS = Measure("tokens_per_s", "real tokens/s")
SECONDS = Measure("seconds", "training s", "{:.1f}")


@dataclass(frozen=True)
class Sizes:
    """How much work a run does; the bars are about the defaults.

    Attributes
    ----------
    rows, embed_rows
        Documents of R8 to train on and to embed.
    probe_test_rows, quality_train_rows, quality_test_rows
        Documents that accuracies are measured on; the last may be None for all.
    steps
        Timed training steps.
    """

    rows: int = 512
    embed_rows: int = 1024
    probe_test_rows: int = 300
    quality_train_rows: int = 2000
    quality_test_rows: int | None = None
    steps: int = 6


TINY = Sizes(rows=40, embed_rows=48, probe_test_rows=20, quality_train_rows=60, quality_test_rows=40, steps=2)


def first_embedding(_: Sizes) -> list[Section]:
    """From a fresh interpreter to the first vector."""
    ours, peer = "warmstart", "sentence-transformers"
    measures = (
        Measure("total_s", "import + first embedding s", "{:.3f}"),
        Measure("import_s", "import s", "{:.3f}"),
        Measure("sklearn", "scikit-learn loaded (1: yes)"),
    )
    bars = (
        Bar("total_s", peer, ours, ">=", 15),
        Bar("import_s", ours, None, "<=", 0.3),
        Bar("sklearn", ours, None, "<=", 0),
    )
    sides = tuple(Side(name, ("--side", name), name == ours) for name in (ours, peer))
    return [Section("First embedding of a fresh interpreter", "first_embedding", sides, measures, bars, rounds=5)]


def first_token(_: Sizes) -> list[Section]:
    """From a fresh interpreter to the first token of a model of 135M parameters."""
    ours, peer = "warmstart", "transformers"
    sides = tuple(Side(name, ("--side", name), name == ours) for name in (ours, peer))
    bars = (Bar("total_s", peer, ours, ">=", 10),)
    measures = (Measure("total_s", "import, open, first token s", "{:.3f}"),)
    return [Section("First token of a fresh interpreter, SmolLM2-135M", "first_token", sides, measures, bars, rounds=5)]


def tokenising(sizes: Sizes) -> list[Section]:
    """Texts to ids."""
    ours, peer = "warmstart", "tokenizers"
    sides = tuple(Side(name, ("--side", name), name == ours) for name in (ours, peer))
    tokens = Measure("tokens_per_s", "tokens/s")
    return [Section("Tokenising R8", "tokenising", sides, (tokens,), (Bar(tokens.key, ours, peer, ">=", 1),))]


def generation(sizes: Sizes) -> list[Section]:
    """Greedy text of SmolLM2-135M."""
    ours, peer = "warmstart", "transformers"
    tokens = Measure("tokens_per_s", "new tokens/s", "{:.1f}")
    sections = []
    for precision, prompts in product(("f32", "bf16"), (1, 4)):
        arguments = ("--precision", precision, "--prompts", str(prompts))
        sides = tuple(Side(name, ("--side", name, *arguments), name == ours) for name in (ours, peer))
        bars = (Bar(tokens.key, ours, peer, ">=", 1.5),)
        title = f"Generation, SmolLM2-135M, {precision}, {prompts} prompt{'s' if prompts > 1 else ''}"
        sections.append(Section(title, "generation", sides, (tokens, MEMORY), bars))
    stored = "llama.cpp"
    sides = (
        Side(ours, ("--side", ours, "--precision", "bf16"), True),
        Side(stored, ("--side", stored, "--precision", "q4_1"), False),
    )
    title = "Generation, SmolLM2-135M, bf16 beside the file's own Q4_1"
    sections.append(Section(title, "generation", sides, (tokens, MEMORY), (Bar(tokens.key, ours, stored),)))
    return sections


def pretraining(sizes: Sizes) -> list[Section]:
    """Masked and causal pretraining steps, on documents of one length and of those of R8."""
    ours, peer, grouped = "warmstart", "torch", "torch-grouped"
    sections = []
    for text, objective, precision in product(("even", "ragged"), ("masked", "causal"), ("f32", "bf16")):
        arguments = ("--objective", objective, "--precision", precision, "--text", text, "--steps", str(sizes.steps))
        names = (ours, peer) if text == "even" else (ours, peer, grouped)
        sides = tuple(Side(name, ("--side", name, *arguments), name == ours) for name in names)
        asked = 1.2 if text == "even" else 1.8
        memory = 0.6 if (text, objective) == ("even", "causal") else None
        bars = (
            *(Bar(TOKENS.key, ours, name, ">=", asked) for name in names[1:]),
            Bar(MEMORY.key, ours, peer, "<=", memory),
        )
        model = "BERT" if objective == "masked" else "GPT-2"
        title = f"Pretraining, {model} 12x768, {objective}, {text} text, {precision}"
        sections.append(Section(title, "pretraining", sides, (TOKENS, MEMORY), bars))
    return sections


def embed(sizes: Sizes) -> list[Section]:
    """Embedding R8, then what low precision costs the features."""
    rows = ("--rows", str(sizes.embed_rows))

    def side(name: str, precision: str) -> Side:
        return Side(
            f"{name} {precision}", ("--side", name, "--precision", precision, *rows), name.startswith("warmstart")
        )

    peer, tuned, onnx = "sentence-transformers", "sentence-transformers-tuned", "onnxruntime"
    speed = Section(
        "Embedding R8 documents",
        "embed",
        (
            *(side("warmstart", precision) for precision in ("f32", "bf16", "int8")),
            *(side(name, precision) for precision in ("f32", "bf16") for name in (peer, tuned)),
            *(side(onnx, precision) for precision in ("f32", "int8")),
        ),
        (TOKENS, MEMORY),
        (
            *(
                Bar(TOKENS.key, f"warmstart {precision}", f"{name} {precision}", ">=", 1.5)
                for precision in ("f32", "bf16")
                for name in (peer, tuned)
            ),
            Bar(TOKENS.key, "warmstart f32", f"{onnx} f32"),
            Bar(TOKENS.key, "warmstart int8", f"{onnx} int8", ">=", 1.3),
        ),
    )
    test_rows = () if sizes.quality_test_rows is None else ("--test-rows", str(sizes.quality_test_rows))
    train_rows = ("--train-rows", str(sizes.quality_train_rows))
    low = ("warmstart bf16", "warmstart int8")
    quality = Section(
        "Features in low precision, against warmstart's own f32",
        "embed_quality",
        tuple(Side(name, ("--precision", name.split()[1], *train_rows, *test_rows), True) for name in low),
        (
            Measure("cosine_min", "cosine, smallest", "{:.5f}"),
            Measure("cosine_mean", "cosine, mean", "{:.5f}"),
            Measure("accuracy_f32", "SVC accuracy on f32 %", "{:.2f}"),
            Measure("accuracy", "SVC accuracy %", "{:.2f}"),
            Measure("accuracy_lost", "points lost to f32", "{:.2f}"),
        ),
        (
            *(Bar("cosine_min", name, None, ">=", 0.99) for name in low),
            *(Bar("accuracy_lost", name, None, "<=", 0.3) for name in low),
        ),
        rounds=1,
    )
    return [speed, quality]


def probing(sizes: Sizes) -> list[Section]:
    """Linear probing: the classifier alone is trained."""
    arguments = ("--strategy", "probing", "--rows", str(sizes.rows), "--test-rows", str(sizes.probe_test_rows))
    names = ("warmstart", "trainer", "trainer-length-grouped")
    sides = tuple(Side(name, ("--side", name, *arguments), name == "warmstart") for name in names)
    bars = (
        Bar(SECONDS.key, "trainer", "warmstart", ">=", 10),
        Bar(SECONDS.key, "trainer-length-grouped", "warmstart"),
    )
    measures = (SECONDS, MEMORY, Measure("accuracy", "test accuracy", "{:.3f}"))
    return [Section("Linear probing on R8, 5 epochs", "finetune", sides, measures, bars)]


def step(sizes: Sizes) -> list[Section]:
    """Full training steps of fixed shape."""
    ours, eager, compiled = "warmstart", "torch", "torch-compile"
    asked = {("12x768", "f32"): 1.2, ("12x768", "bf16"): 1.4, ("6x384", "f32"): 1.4, ("6x384", "bf16"): 2.0}
    measures = (Measure("step_s", "s a step", "{:.3f}"), MEMORY)
    sections = []
    for (shape, precision), bar in asked.items():
        arguments = ("--shape", shape, "--precision", precision, "--steps", str(sizes.steps))
        sides = tuple(Side(name, ("--side", name, *arguments), name == ours) for name in (ours, eager, compiled))
        bars = (
            Bar("step_s", eager, ours, ">=", bar),
            Bar("step_s", compiled, ours),
            Bar(MEMORY.key, ours, eager, "<="),
        )
        sections.append(Section(f"Training step, BERT {shape}, {precision}", "step", sides, measures, bars))
    return sections


def families(sizes: Sizes) -> list[Section]:
    """Full training steps of the other families, in the size of a BERT-base."""
    ours, eager = "warmstart", "torch"
    measures = (Measure("step_s", "s a step", "{:.3f}"), MEMORY)
    sections = []
    for family, precision in product(FAMILIES, ("f32", "bf16")):
        arguments = ("--shape", family, "--precision", precision, "--steps", str(min(sizes.steps, 3)))
        sides = tuple(Side(name, ("--side", name, *arguments), name == ours) for name in (ours, eager))
        bars = (Bar("step_s", eager, ours, ">=", 1.2), Bar(MEMORY.key, ours, eager))
        sections.append(Section(f"Training step, {family} 12x768, {precision}", "step", sides, measures, bars))
    return sections


def finetune(sizes: Sizes) -> list[Section]:
    """Fine-tuning every layer on R8."""
    ours, f32 = "warmstart", "warmstart-f32"
    default, grouped, bf16 = "trainer", "trainer-length-grouped", "trainer-length-grouped-bf16"
    sides = tuple(
        Side(name, ("--side", name, "--rows", str(sizes.rows)), variant.library == "warmstart")
        for name, variant in VARIANTS.items()
    )
    bars = (
        Bar(TOKENS.key, ours, default, ">=", 7),
        Bar(TOKENS.key, ours, bf16, ">=", 2),
        Bar(TOKENS.key, f32, default, ">=", 3),
        Bar(TOKENS.key, f32, grouped, ">=", 1.2),
        *(Bar(MEMORY.key, side, default, "<=", 0.4) for side in (ours, f32)),
        Bar(MEMORY.key, f32, grouped, "<=", 0.4),
        Bar(MEMORY.key, ours, bf16, "<=", 0.4),
    )
    return [Section("Fine-tuning MiniLM on R8, one epoch", "finetune", sides, (TOKENS, MEMORY, SECONDS), bars)]


def adapters(sizes: Sizes) -> list[Section]:
    """An epoch of LoRA beside full fine-tuning, ours and peft's."""
    sections = []
    for precision, ours, peer in (
        ("bf16", "warmstart", "trainer-length-grouped-bf16"),
        ("f32", "warmstart-f32", "trainer-length-grouped"),
    ):
        rows = ("--rows", str(sizes.rows))
        sides = tuple(
            Side(f"{side}, {strategy}", ("--side", side, "--strategy", strategy, *rows), side == ours)
            for strategy in ("full", "lora")
            for side in (ours, peer)
        )
        bars = (
            Bar("epoch_s", f"{ours}, full", f"{ours}, lora", ">=", 1.25, equal=("real tokens",)),
            Bar(TOKENS.key, f"{ours}, full", f"{peer}, full"),
            Bar(TOKENS.key, f"{ours}, lora", f"{peer}, lora"),
            Bar(MEMORY.key, f"{ours}, lora", f"{peer}, lora", "<=", 0.15),
            Bar(MEMORY.key, f"{ours}, lora", f"{ours}, full", "<=", equal=("real tokens",)),
        )
        title = f"LoRA and full fine-tuning of MiniLM on R8, one epoch, {precision}"
        epoch = Measure("epoch_s", "of these the training loop s", "{:.1f}")
        sections.append(Section(title, "finetune", sides, (TOKENS, MEMORY, SECONDS, epoch), bars))
    return sections


def finetune_base(sizes: Sizes) -> list[Section]:
    """What fine-tuning a BERT-base takes: its weights say nothing, so its speed and memory alone are looked at."""
    rows = str(min(sizes.rows, 64))
    sides = tuple(
        Side(name, ("--side", name, "--base", "--rows", rows), variant.library == "warmstart")
        for name, variant in VARIANTS.items()
    )
    pairs = (
        ("warmstart", "trainer"),
        ("warmstart-f32", "trainer"),
        ("warmstart-f32", "trainer-length-grouped"),
        ("warmstart", "trainer-length-grouped-bf16"),
    )
    bars = tuple(Bar(MEMORY.key, ours, peer, "<=", 0.6) for ours, peer in pairs)
    return [Section("Fine-tuning BERT 12x768 on R8", "finetune", sides, (MEMORY, TOKENS), bars, rounds=1)]


SECTIONS: dict[str, Callable[[Sizes], list[Section]]] = {  # quick ones first
    "first-embedding": first_embedding,
    "first-token": first_token,
    "tokenising": tokenising,
    "generation": generation,
    "embed": embed,
    "probing": probing,
    "step": step,
    "families": families,
    "pretraining": pretraining,
    "finetune": finetune,
    "finetune-base": finetune_base,
    "adapters": adapters,
}
