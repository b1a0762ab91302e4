"""transformers' ``Trainer`` with its defaults: 3 epochs, batches of 8, learning rate 5e-5; texts cut at 128 tokens."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.defaults.peer import serve

MAX_LENGTH = 128


def learn(request: dict[str, Any]) -> Callable[[list[str]], Sequence[int]]:
    """Fine-tune the model on the request's texts."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(request["seed"])
    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    model = AutoModelForSequenceClassification.from_pretrained(
        request["model"], num_labels=len(set(request["labels"])), dtype=torch.float32
    )

    def encode(texts: list[str]) -> list[dict[str, Any]]:
        encoded = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)
        return [{name: column[row] for name, column in encoded.items()} for row in range(len(texts))]

    arguments = TrainingArguments(
        output_dir="checkpoints",
        seed=request["seed"],
        use_cpu=True,
        dataloader_pin_memory=False,  # pinning serves a GPU only
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=[
            example | {"labels": label}
            for example, label in zip(encode(request["texts"]), request["labels"], strict=True)
        ],
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return lambda texts: trainer.predict(encode(texts)).predictions.argmax(axis=1).tolist()


if __name__ == "__main__":
    serve(learn, "transformers", "torch", "accelerate")
