"""A real decoder goes on with a new style: SmolLM2-135M with tinyshakespeare; perplexity before and after, a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.decoder import decoder_directory
from bench.studies import texts
from bench.studies.study import Options, Record, Run, Study, chosen, results_folder, spread
from bench.table import markdown_table


@dataclass(frozen=True, kw_only=True)
class Size:
    """Steps, tokens of each and of a sequence, learning rate; documents to evaluate on, tokens of the sample."""

    steps: int = 24
    batch_tokens: int = 1024
    max_length: int = 256
    rate: float = 1e-4
    test_documents: int = 40
    sample_tokens: int = 80


FULL, TINY = Size(), Size(steps=2, batch_tokens=256, test_documents=3, sample_tokens=5)
CHARACTERS = 800  # about as many tokens as a sequence has
PROMPT = "ROMEO:\n"


def runs(options: Options) -> Iterator[Run]:
    """The model as it is, then seed by seed."""
    size = options.size(FULL, TINY)
    yield Run({"seed": None} | asdict(size), lambda: go_on(options, size, None))
    for seed in range(options.seeds):
        yield Run({"seed": seed} | asdict(size), lambda seed=seed: go_on(options, size, seed))


def go_on(options: Options, size: Size, seed: int | None) -> Record:
    """Train with a seed, or not at all; then perplexity on the last tenth's first documents, and a sample."""
    import warmstart as ws

    train, held_out = texts.held_out(texts.scenes(options.data, CHARACTERS))
    model = ws.LanguageModel.from_pretrained(
        decoder_directory(),
        ws.CausalLM(),
        learning_rate=size.rate,
        max_steps=size.steps,
        batch_tokens=size.batch_tokens,
        max_length=size.max_length,
        random_state=seed,
        cache_dir=results_folder(),
        verbose=False,
    )
    if seed is not None:
        model.fit(train)
    sample = model.generate(PROMPT, size.sample_tokens, temperature=0.8, top_p=0.95, random_state=0)
    return {"perplexity": model.perplexity(held_out[: size.test_documents]), "sample": sample}


def report(records: Sequence[Record]) -> str:
    """Perplexities, then what the untrained and one trained model write."""
    before = chosen(records, seed=None)
    after = [record for record in records if record["seed"] is not None]
    rows = [
        ["as it is", *(f"{record['perplexity']:.2f}" for record in before)],
        ["continued", spread([record["perplexity"] for record in after], "{:.2f}")],
    ]
    parts = [markdown_table(["SmolLM2-135M", "perplexity"], [row for row in rows if len(row) == 2])]
    for title, found in (("As it is", before), ("Continued, seed 0", chosen(records, seed=0))):
        for record in found:
            parts.append(f"{title}:\n\n```\n{PROMPT}{record['sample'].strip()}\n```")
    return "\n\n".join(parts)


STUDY = Study(runs, report)
