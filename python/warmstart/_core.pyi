"""The compiled core. Texts, arrays and plain data in; arrays and plain data out.

Shape letters: ``N`` texts, ``T`` tokens, ``D`` hidden size, ``C`` outputs.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, final, type_check_only

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SIDE_FILES",
    "WEIGHT_FILES",
    "AdamW",
    "Backbone",
    "Corpus",
    "CorpusWriter",
    "DataError",
    "DeviceError",
    "Encodings",
    "LanguageModel",
    "Objective",
    "ReplacedDetector",
    "Strategy",
    "Task",
    "TaskModel",
    "Tokenizer",
    "TokenizerTrainer",
    "TrainingError",
    "TrainingOptions",
    "WarmstartError",
    "WeightsError",
    "__version__",
    "_backbone_from_state",
    "_classifier_from_state",
    "_language_model_from_state",
    "_replaced_detector_from_state",
    "_task_from_state",
    "_task_model_from_state",
    "_tokenizer_from_files",
    "available_memory_bytes",
    "checkpoint_seed",
    "get_num_threads",
    "peak_memory_bytes",
    "pretrain",
    "pretraining_batches",
    "pretraining_memory",
    "resident_memory_bytes",
    "set_num_threads",
]

__version__: str

SIDE_FILES: tuple[str, ...]
"""The small files that travel with a model's weights: tokenizer and pooling."""

WEIGHT_FILES: tuple[str, ...]
"""Files that hold weights or name those that do, in order of preference."""

class WarmstartError(Exception): ...
class WeightsError(WarmstartError, ValueError): ...
class DataError(WarmstartError, ValueError): ...
class DeviceError(WarmstartError, RuntimeError): ...
class TrainingError(WarmstartError, RuntimeError): ...

@type_check_only
class Monitor(Protocol):
    """Callbacks of a training run. An exception raised here stops the run."""

    metric: str
    """Name of the score; a run resumes only from a checkpoint with the same one."""

    def on_start(self, facts: dict[str, Any]) -> None:
        """Facts known before the first step.

        Keys ``total_steps, total_tokens, tokens_done, steps_per_epoch, batch_tokens, trainable_parameters,
        parameters``.
        """

    def on_step(self, record: dict[str, Any]) -> None:
        """Progress, at most ten times a second.

        Keys ``step, epoch`` (float)``, loss, learning_rate, grad_norm, tokens, elapsed_s``; ``tokens`` and
        ``elapsed_s`` count from the start of training, evaluation excluded.
        """

    def on_evaluate(self, logits: NDArray[np.float32], record: dict[str, Any]) -> float:
        """Logits ``[N, C]`` of the evaluation texts; returns the score, higher is better.

        ``record`` has the keys of ``on_step``, its ``loss`` the mean since the previous evaluation, and
        ``eval_loss``, which is computed with class weights and label smoothing as the training loss is.
        """

    def on_epoch(self, record: dict[str, Any]) -> None:
        """End of an epoch in a run without evaluation texts; ``record`` as in ``on_evaluate`` without ``eval_loss``."""

@final
class Encodings:
    """Tokenised texts: ids, segments and character offsets."""

    def __len__(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def n_empty(self) -> int:
        """Texts of which no character became a token; where words are known, texts without any."""
    @property
    def n_truncated(self) -> int: ...
    @property
    def n_unknown(self) -> int:
        """Texts of which more than half the tokens are the unknown one."""
    @property
    def max_length(self) -> int: ...
    @property
    def max_length_source(self) -> str: ...
    def item_counts(self) -> NDArray[np.int64]:
        """Number of items of each text: its words where they are known, else one."""
    def lengths(self) -> NDArray[np.int64]: ...
    def ids(self, index: int) -> NDArray[np.int64]: ...
    def segments(self, index: int) -> NDArray[np.int64]: ...
    def offsets(self, index: int) -> NDArray[np.int64]:
        """Character offsets ``[T, 2]`` into the text a token came from; special tokens are ``(0, 0)``."""
    def select(self, texts: Sequence[int]) -> tuple[Encodings, NDArray[np.int64]]:
        """Some of the texts, and the numbers of what is classified of them: texts, or words where they are known."""

@final
class Tokenizer:
    """Texts to ids. Immutable."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def unknown_id(self) -> int | None:
        """The token that stands for what the vocabulary lacks."""
    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int | None) -> Encodings: ...
    def decode(self, ids: Sequence[Sequence[int]], skip_special_tokens: bool) -> list[str]: ...
    def to_json(self) -> str:
        """The text of a ``tokenizer.json``."""
    def save(self, path: str) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class TokenizerTrainer:
    """Counts the words of texts, then makes a tokenizer, once."""

    def __new__(
        cls, kind: str, family: str | None, vocab_size: int, min_frequency: int, lowercase: bool | None
    ) -> TokenizerTrainer: ...
    def feed(self, texts: Sequence[str]) -> None: ...
    def train(self) -> Tokenizer: ...

@final
class Corpus:
    """Tokenised documents in a mapped file. Immutable."""

    @staticmethod
    def open(path: str) -> Corpus: ...
    @property
    def n_documents(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    def held_out(self, fraction: float) -> int:
        """The first of the documents that are held out, if they are to hold about this part of the tokens."""
    @property
    def vocab_size(self) -> int: ...
    def ids(self, index: int) -> NDArray[np.int64]:
        """Ids ``[T]`` of a document, without special tokens."""
    def continues(self, index: int) -> NDArray[np.bool_]:
        """For each token ``[T]`` of a document, whether it continues the word of the token before it."""

@final
class CorpusWriter:
    """Tokenises documents into a file of ``directory``; nothing is left there unless it is finished."""

    def __new__(cls, directory: str, tokenizer: Tokenizer) -> CorpusWriter: ...
    def add(self, texts: Sequence[str]) -> None:
        """Add texts, each a document."""
    def add_file(
        self, path: str, field: str | None, skip: bool, on_progress: Callable[[int], None] | None
    ) -> tuple[int, str | None]:
        """Add the documents of a file: JSON lines with their text in ``field``, or plain text with blank lines between.

        ``skip`` leaves out lines that cannot be read; returns how many, and what was wrong with the first.
        ``on_progress`` gets the number of bytes read.
        """
    def finish(self, name: str) -> Corpus:
        """Put the file in its place, and open it."""
    def close(self) -> None:
        """Give up what is not finished."""

@final
class Backbone:
    """A pretrained transformer and its tokenizer. Immutable."""

    @staticmethod
    def from_pretrained(path: str) -> Backbone: ...
    @staticmethod
    def from_config(config: str, tokenizer: Tokenizer | str, seed: int) -> Backbone:
        """``config`` is the text of a config.json, ``tokenizer`` a tokenizer or a directory that holds one."""
    def extend_vocabulary(self, batches: Iterable[Sequence[str]], n_tokens: int | None) -> Backbone:
        """``batches`` hold the tokens, or with ``n_tokens`` the texts of a corpus to choose words from."""
    def with_classifier_pooling(self, pooling: Sequence[str]) -> Backbone:
        """The same model, on which the head of a classifier of texts takes the vectors of these poolings."""
    def has_linear_head(self, of_words: bool) -> bool:
        """Whether only the last map of a new head is not pretrained."""
    def head_dropout(self, of_words: bool) -> float:
        """Share of what the last map of a head takes that training drops at random."""
    def head_has_bias(self, of_words: bool) -> bool:
        """Whether the last map of a head has one: those of most decoders' classes in transformers have not."""
    def with_prefix_space(self) -> Backbone:
        """The same model, whose byte-level tokenizer puts a space before the first word, too; others stay."""
    @property
    def tokenizer(self) -> Tokenizer: ...
    def save_pretrained(self, path: str, max_shard_bytes: int) -> None: ...
    @property
    def family(self) -> str: ...
    @property
    def config(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def n_heads(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def max_length(self) -> int: ...
    @property
    def max_positions(self) -> int: ...
    @property
    def max_length_source(self) -> str: ...
    @property
    def default_pooling(self) -> list[str]: ...
    @property
    def normalizes(self) -> bool: ...
    @property
    def has_dense(self) -> bool: ...
    @property
    def prompt(self) -> str | None: ...
    def vector_size(self, layers: Sequence[int] | None, pooling: Sequence[str]) -> int: ...
    @property
    def is_causal(self) -> bool: ...
    @property
    def is_permuting(self) -> bool: ...
    def notes(self) -> list[str]:
        """Warnings for whoever opens it, a sentence each."""
    def load_report(self) -> dict[str, Any]:
        """Keys ``loaded`` (count)``, missing, ignored, converted, not_finite`` (lists of tensor names)``, prefix``."""
    def parameters(self) -> list[dict[str, Any]]:
        """A row per parameter tensor, in the order of the model, with keys
        ``name, shape, parameters`` (their number)``, dtype`` (``"f32"``)``, bytes``."""
    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int | None) -> Encodings: ...
    def embed(
        self,
        encodings: Encodings,
        layers: Sequence[int] | None,
        pooling: Sequence[str],
        normalize: bool,
        batch_tokens: int,
        precision: str,
        on_progress: Callable[[int], None] | None,
    ) -> NDArray[np.float32]:
        """Vectors ``[N, vector_size(layers, pooling)]`` in input order: pooled hidden states side by side.

        ``layers`` count from 0 (embedding output) to n; without them the vectors are those that the model directory
        makes of the last, but for their norm. ``normalize`` divides each row by its length. ``precision`` is auto, f32,
        bf16 or int8. ``on_progress`` gets the number of tokens done so far.
        """
    def encode_windows(
        self, texts: Sequence[str], max_length: int | None
    ) -> tuple[Encodings, NDArray[np.int64], NDArray[np.int64]]:
        """Texts cut into windows between words; for each word its text int64 ``[R]``, and its characters ``[R, 2]``."""
    def explain(self, strategy: Strategy, optimizer: AdamW, task: Task) -> list[dict[str, Any]]:
        """The plan a strategy compiles to: a row per parameter with keys
        ``name, shape, trainable, learning_rate, weight_decay``."""
    def __reduce__(self) -> tuple[Any, ...]: ...
    def with_adapter(self, path: str, name: str, any_base: bool) -> Backbone:
        """A copy with the adapter in a directory of PEFT's on it."""
    def merged(self) -> Backbone:
        """A copy with its adapters merged into the weights."""
    @property
    def adapters(self) -> list[str]:
        """Names of the adapters."""
    def __copy__(self) -> Backbone: ...
    def __deepcopy__(self, memo: Any) -> Backbone: ...

@final
class Strategy:
    """Methods that apply together, as JSON: a list of ``{"method": {NAME: {SETTING: ...}}, "factor": ...}``."""

    def __new__(cls, parts: str) -> Strategy: ...

@final
class AdamW:
    """The optimiser, the peak of its rate, and how the rate changes: ``linear``, ``cosine`` or ``constant``."""

    def __new__(
        cls,
        *,
        learning_rate: float,
        weight_decay: float,
        beta1: float,
        beta2: float,
        epsilon: float,
        schedule: str,
        warmup_ratio: float,
        max_grad_norm: float | None,
    ) -> AdamW: ...

@final
class TrainingOptions:
    """Length and settings of a training run of any kind.

    ``max_steps`` takes the place of ``epochs``; ``eval_every`` counts optimiser steps, None evaluates each epoch;
    ``patience`` counts evaluations without improvement, None never stops early; ``keep`` is ``best`` or ``last``;
    ``recompute`` keeps each layer's input alone and computes the layer again in the backward pass: less memory, the
    same result.
    """

    def __new__(
        cls,
        *,
        strategy: Strategy,
        optimizer: AdamW,
        epochs: int,
        max_steps: int | None,
        batch_tokens: int,
        accumulation_steps: int,
        eval_every: int | None,
        patience: int | None,
        keep: str,
        seed: int,
        precision: str,
        recompute: bool,
        checkpoint_dir: str | None,
        checkpoint_every: int | None,
    ) -> TrainingOptions: ...

@final
class Objective:
    """A pretraining objective; see ``warmstart.objectives``."""

    @staticmethod
    def causal(*, stream: bool) -> Objective: ...
    @staticmethod
    def masked(*, rate: float, unit: str) -> Objective: ...
    @staticmethod
    def replaced(*, rate: float, weight: float) -> Objective: ...
    @staticmethod
    def permutation(*, memory: int | None) -> Objective: ...

@final
class Task:
    """A head with its loss, under a name."""

    @staticmethod
    def classification(
        n_outputs: int,
        *,
        of_words: bool = False,
        multi_label: bool = False,
        class_weight: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> Task:
        """Classes of texts, or of their words; ``class_weight`` has C values."""
    @staticmethod
    def regression(
        n_outputs: int, *, loss: str = "mse", delta: Sequence[float] | None = None, quantile: float | None = None
    ) -> Task:
        """Real numbers of texts; "huber" takes C values of ``delta``, "pinball" a ``quantile``."""
    def decode(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """Decode outputs ``[N, C]``: class indices int64 ``[N]``, 0 or 1 int64 ``[N, C]``, or float32."""
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class TaskModel:
    """A backbone with the head of a task: the fitted model behind the estimators. Immutable."""

    @staticmethod
    def fit(
        backbone: Backbone,
        task: Task,
        train: Encodings,
        targets: NDArray[np.int64] | NDArray[np.float32],
        eval: Encodings | None,
        eval_targets: NDArray[np.int64] | NDArray[np.float32] | None,
        options: TrainingOptions,
        monitor: Monitor,
        *,
        sample_weight: NDArray[np.float32] | None = None,
        start: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
        head: TaskModel | None = None,
    ) -> tuple[TaskModel | None, dict[str, Any], BaseException | None]:
        """Train a model; the backbone stays as it is.

        ``start`` is weight ``[C, D]`` and bias ``[C]`` of the head's last map to begin from, instead of random ones;
        ``head`` has the whole head to go on from.

        ``targets`` are class indices int64 ``[N]``, or a number for each output, float32 ``[N, C]``; N are texts or
        the words of windows. ``sample_weight`` has one value for each text, by which the loss is a mean.

        Bad input raises, and so does an interrupt before the first step. A run that began and was stopped returns
        the exception that stopped it (KeyboardInterrupt, TrainingError, or what a monitor raised) with the model
        holding the best (else the last good) weights; the model is None when there are none.

        The dict has ``steps, epochs, tokens, elapsed_s, best_step`` (null without evaluation)``, best_score``,
        ``kept_step`` (of the weights handed back)``, stopped_early, was_finished`` (a checkpoint held the whole run)``,
        batch_tokens, trainable_parameters, parameters``, and under ``history`` the ``rows``, records of each
        evaluation with ``eval_loss`` and ``score``, or of each epoch, and the ``curve``, at most 1000 steps with
        ``step, epoch, loss``.
        """
    @staticmethod
    def features(
        backbone: Backbone,
        task: Task,
        encodings: Encodings,
        batch_tokens: int,
        precision: str,
        on_progress: Callable[[int], None] | None,
    ) -> NDArray[np.float32]:
        """Inputs of a new head's last linear layer, ``[N, D]``: of texts, or of words if the encodings have them."""
    @staticmethod
    def with_last_map(
        backbone: Backbone, task: Task, weight: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> TaskModel:
        """A model whose head's last map is this, ``[C, D]`` and ``[C]``, and else as pretrained."""
    @staticmethod
    def estimate_memory(
        backbone: Backbone, task: Task, train: Encodings, eval: Encodings | None, options: TrainingOptions
    ) -> dict[str, int]:
        """Bytes that `fit` with these options takes at its peak beside what the process holds, by what holds them.

        Keys ``trainable, gradients, optimizer, kept, activations, scratch, loss, evaluation, allocator``.
        """
    def outputs(
        self, encodings: Encodings, batch_tokens: int, precision: str, on_progress: Callable[[int], None] | None
    ) -> NDArray[np.float32]:
        """Outputs of the head, ``[N, C]`` in input order; ``precision`` as for `Backbone.embed`."""
    @property
    def backbone(self) -> Backbone: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def pooling(self) -> list[str]: ...
    @property
    def n_parameters(self) -> int: ...
    def save(self, path: str, names: Sequence[str], metadata: str, max_shard_bytes: int) -> None:
        """Write a Hugging Face directory; ``names`` are those of the outputs, ``metadata`` becomes ``warmstart.json``.

        Files are staged, read back and compared before they replace what was there.
        """
    @staticmethod
    def from_pretrained(path: str, kind: str) -> tuple[TaskModel, list[str], bool, str | None]:
        """Read a published model of "classes" (or indicators), "tags" or "numbers", with the names of its outputs.

        Then whether the names are numbers, and what to tell of them. The outputs of classes are in the order of these.
        """
    @staticmethod
    def from_adapter(
        backbone: Backbone, path: str, kind: str, any_base: bool
    ) -> tuple[tuple[TaskModel, list[str], bool, str | None], int | None]:
        """The adapter in a directory of PEFT's, with the head that it brings, on a backbone, as ``from_pretrained``
        returns it; and the number of tokens that texts were cut to."""
    def save_adapter(self, path: str, names: list[str], are_numbers: bool, max_length: int | None) -> None:
        """Write the adapter and the head as PEFT does."""
    def merged(self) -> TaskModel:
        """The same model with its adapters merged into the weights."""
    @staticmethod
    def load(path: str) -> tuple[TaskModel, str]:
        """The model and the text of ``warmstart.json``."""
    @property
    def kind(self) -> str: ...
    @property
    def of_words(self) -> bool: ...
    def with_outputs_scaled(self, scale: NDArray[np.float32], shift: NDArray[np.float32]) -> TaskModel:
        """The same model, each output of which is multiplied by ``scale`` ``[C]``, then moved by ``shift`` ``[C]``."""
    def with_task(self, task: Task) -> TaskModel:
        """The same model for another task: of as many outputs, on the same layers."""
    def __reduce__(self) -> tuple[Any, ...]: ...

def _backbone_from_state(state: dict[str, Any]) -> Backbone: ...
def _tokenizer_from_files(files: dict[str, bytes], format_version: int = 1) -> Tokenizer: ...
def _classifier_from_state(state: dict[str, Any], of_words: bool) -> TaskModel: ...
def _task_from_state(kind: str, n_outputs: int) -> Task: ...
def _task_model_from_state(state: dict[str, Any], task: Task) -> TaskModel: ...
def set_num_threads(n: int) -> None:
    """Use ``n`` threads from now on, 1 to 1024.

    0 means the default: ``RAYON_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the processors this process may use.

    Raises
    ------
    ValueError
        `n` is out of this range.
    """

def get_num_threads() -> int: ...
def peak_memory_bytes() -> int:
    """Highest resident set of this process so far, in bytes."""

def available_memory_bytes() -> int | None:
    """Memory that this process can still have, in bytes; None where the system does not tell."""

def resident_memory_bytes() -> int:
    """Resident set of this process, in bytes; 0 where the system does not tell."""

@final
class LanguageModel:
    """A backbone with the head of its language model."""

    def __new__(cls, backbone: Backbone, seed: int) -> LanguageModel: ...
    @staticmethod
    def from_pretrained(path: str) -> LanguageModel: ...
    def token_scores(
        self,
        encodings: Encodings,
        batch_tokens: int,
        precision: str,
        on_progress: Callable[[int], None] | None,
    ) -> list[NDArray[np.float32]]:
        """Log probabilities of each text's tokens, NaN where nothing can be said."""
    def fill_masks(self, encodings: Encodings, text: int, top: int, precision: str) -> list[list[tuple[int, float]]]:
        """For each mask of a text the likeliest tokens: ids and probabilities."""
    def generate(self, prompts: Sequence[str], options: str, on_text: Callable[[int, str], object] | None) -> list[str]:
        """Continuations of the prompts; ``options`` is JSON, ``on_text`` gets the number of a prompt and new text."""
    @property
    def generation_config(self) -> tuple[str, str]:
        """The file that says how it generates texts, and its contents: generation_config.json, else config.json."""
    @property
    def backbone(self) -> Backbone: ...
    @property
    def head_parameters(self) -> list[str]: ...
    @property
    def n_parameters(self) -> int: ...
    def save(self, path: str, metadata: str, max_shard_bytes: int) -> None: ...
    @staticmethod
    def load(path: str) -> tuple[LanguageModel, str]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class ReplacedDetector:
    """A backbone that tells which tokens its generator has replaced."""

    def __new__(cls, backbone: Backbone, generator: Backbone, seed: int) -> ReplacedDetector: ...
    @property
    def backbone(self) -> Backbone: ...
    @property
    def generator(self) -> LanguageModel: ...
    @property
    def n_parameters(self) -> int: ...
    def save(self, path: str, metadata: str, max_shard_bytes: int) -> None: ...
    @staticmethod
    def load(path: str) -> tuple[ReplacedDetector, str]: ...

def _language_model_from_state(state: dict[str, Any]) -> LanguageModel: ...
def _replaced_detector_from_state(state: dict[str, Any], generator: LanguageModel) -> ReplacedDetector: ...
def checkpoint_seed(directory: str) -> int | None:
    """The ``random_state`` of the run whose checkpoint lies there; None without one that can be gone on from."""

def pretrain(
    model: LanguageModel | ReplacedDetector,
    train: tuple[Corpus, int, int],
    eval: tuple[Corpus, int, int] | None,
    options: TrainingOptions,
    monitor: Monitor,
    *,
    objective: Objective,
    max_length: int,
) -> tuple[LanguageModel | ReplacedDetector | None, dict[str, Any], BaseException | None]:
    """Train a model, which stays as it is: the trained one, of the same class; facts; what stopped the run.

    Corpora come with the first of their documents and the one behind the last; ``max_length`` is that of a sequence in
    tokens, special ones included. The facts are those of `TaskModel.fit`.
    """

def pretraining_memory(
    model: LanguageModel | ReplacedDetector,
    train: tuple[Corpus, int, int],
    eval: tuple[Corpus, int, int] | None,
    options: TrainingOptions,
    *,
    objective: Objective,
    max_length: int,
) -> dict[str, int]:
    """Bytes that `pretrain` takes at its peak, by what holds them; what `model` keeps to be asked goes."""

def pretraining_batches(
    backbone: Backbone,
    train: tuple[Corpus, int, int],
    options: TrainingOptions,
    evaluation: bool,
    *,
    objective: Objective,
    max_length: int,
) -> list[list[dict[str, NDArray[Any]]]]:
    """The batches of each optimiser step of `pretrain` with these arguments.

    ``evaluation`` gives one step instead, with the batches of an evaluation on these documents. Keys of a batch of T
    tokens in B sequences, int64: ``ids, segments`` ``[T]``; ``cu_seqlens`` ``[B + 1]``, where each sequence begins, and
    the end; ``labels`` ``[P]``, -100 where nothing is asked, and ``rows`` ``[P]``, the tokens whose outputs answer. Of
    permutations, in place of ``rows``: ``targets`` ``[P]``, positions within their sequences; ``cu_targets``
    ``[B + 1]``; ``hidden``, bool, ``[n * n]`` for each sequence of n tokens: true where that of the row does not see
    that of the column. What is remembered of the step before is not in them.
    """
