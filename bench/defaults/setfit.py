"""setfit with its defaults: contrastive fine-tuning of the sentence encoder, then logistic regression."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.defaults.peer import serve


def learn(request: dict[str, Any]) -> Callable[[list[str]], Sequence[int]]:
    """Fine-tune the model on the request's texts."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(request["model"], device="cpu")
    trainer = Trainer(
        model=model,
        args=TrainingArguments(seed=request["seed"], show_progress_bar=False, save_strategy="no"),
        train_dataset=Dataset.from_dict({"text": request["texts"], "label": request["labels"]}),
    )
    trainer.train()
    return lambda texts: model.predict(texts, as_numpy=True).tolist()


if __name__ == "__main__":
    serve(learn, "setfit", "sentence-transformers", "transformers", "torch")
