"""The peer: transformers' ``Trainer``, as its documentation uses it."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from bench.data import Documents
from bench.machine import versions
from bench.settings import Settings, Variant


@dataclass
class TrainerSide:
    """Trains every layer; with "probing" the classifier, which the checkpoint lacks; with "lora" it and peft's adapter.

    Parameters
    ----------
    variant
        Its sampler, random by default or ``train_sampling_strategy="group_by_length"``, and bf16 autocast.
    scratch
        Folder the Trainer insists on; nothing is written there.
    """

    model_dir: Path
    settings: Settings
    variant: Variant
    scratch: Path

    def prepare(self, train: Documents) -> None:
        """Tokenise the training documents."""
        started = time.perf_counter()
        self.classes = sorted(set(train.labels))
        self.tokenizer = AutoTokenizer.from_pretrained(self.model_dir)
        index = {label: i for i, label in enumerate(self.classes)}
        self.examples = [
            {**example, "labels": index[label]}
            for example, label in zip(self._encode(train.texts), train.labels, strict=True)
        ]
        self.tokenise_s = time.perf_counter() - started
        self.n_tokens = sum(len(example["input_ids"]) for example in self.examples) * self.settings.epochs

    def warm_up(self) -> None:
        """One step of a model that is thrown away."""
        self._trainer(max_steps=1).train()
        gc.collect()

    def train(self) -> float:
        """Train from the pretrained weights; seconds spent in ``Trainer.train``."""
        self.trainer = self._trainer()
        started = time.perf_counter()
        self.trainer.train()
        self.n_trainable = sum(p.numel() for p in self.trainer.model.parameters() if p.requires_grad)
        self.epoch_s = time.perf_counter() - started
        return self.epoch_s

    def predict(self, texts: list[str]) -> list[str]:
        """Labels from the trained model."""
        # Not Trainer.predict: with group_by_length it returns the rows in the sampler's order, not the texts'.
        examples, collate = self._encode(texts), DataCollatorWithPadding(self.tokenizer)
        model, size = self.trainer.model.eval(), self.settings.batch_size
        predicted: list[str] = []
        with torch.inference_mode():
            for start in range(0, len(examples), size):
                logits = model(**collate(examples[start : start + size])).logits  # [B, C]
                predicted += [self.classes[i] for i in logits.argmax(dim=1).tolist()]
        return predicted

    def versions(self) -> dict[str, str]:
        """Of what computes."""
        return versions("torch", "transformers", "peft", "accelerate", "tokenizers")

    def threads(self) -> int:
        """As the library chose."""
        return int(torch.get_num_threads())

    def details(self) -> dict[str, Any]:
        """What else explains a number."""
        arguments = self.trainer.args
        return {
            "optimiser": str(arguments.optim.value),
            "sampling": str(arguments.train_sampling_strategy),
            "weight_decay": arguments.weight_decay,
            "max_grad_norm": arguments.max_grad_norm,
            "attention": str(self.trainer.model.config._attn_implementation),
            "dtype": str(self.trainer.model.dtype),
            "bf16_autocast": arguments.bf16,
            "steps": self.trainer.state.global_step,
            "tokenise_s": round(self.tokenise_s, 3),
        }

    def _encode(self, texts: list[str]) -> list[dict[str, Any]]:
        encoded = self.tokenizer(texts, truncation=True, max_length=self.settings.max_length)
        return [{name: column[row] for name, column in encoded.items()} for row in range(len(texts))]

    def _trainer(self, max_steps: int = -1) -> Any:
        settings = self.settings
        set_seed(settings.seed)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            self.model_dir, num_labels=len(self.classes), dtype=torch.float32, output_loading_info=True
        )
        if settings.strategy == "lora":
            # All linear maps of the layers; the pooler is none of them.
            maps = r".*\.layer\..*(query|key|value|dense)"
            config = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=maps)
            model = get_peft_model(model, config)
        if settings.strategy == "probing":
            for name, parameter in model.named_parameters():
                parameter.requires_grad = name in loading["missing_keys"]
        arguments = TrainingArguments(
            output_dir=str(self.scratch),
            num_train_epochs=settings.epochs,
            max_steps=max_steps,
            per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            weight_decay=0.0,
            seed=settings.seed,
            train_sampling_strategy="group_by_length" if self.variant.group_by_length else "random",
            use_cpu=True,
            bf16=self.variant.precision == "bf16",
            dataloader_pin_memory=False,  # pinning serves a GPU only
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=self.examples,
            data_collator=DataCollatorWithPadding(self.tokenizer),
            processing_class=self.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)  # standard output belongs to the result
        return trainer
