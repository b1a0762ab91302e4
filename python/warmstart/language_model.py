"""`LanguageModel`: a backbone with the head of a language model: pretrained, continued, asked."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.backbone import Backbone, require_backbone, warn_notes
from warmstart.doubts import of_pretraining
from warmstart.generation import generation_options
from warmstart.history import History
from warmstart.hub import fetched
from warmstart.keywords import naming_what_was_meant
from warmstart.memory import MemoryEstimate
from warmstart.monitor import FitMonitor
from warmstart.objectives import MaskedLM, Objective, ReplacedTokenDetection, require_objective
from warmstart.optim import AdamW
from warmstart.options import (
    EMBED_BATCH_TOKENS,
    INFERENCE_PRECISIONS,
    MAX_SHARD_SIZE,
    as_seed,
    byte_count,
    check_compute,
    positive_int,
)
from warmstart.pretraining import default_objective, generator_for, prepare
from warmstart.progress import TokenBar
from warmstart.strategies import PARTS, Strategy
from warmstart.texts import Texts, encode, normalise, warn_unread
from warmstart.warn import warn, warn_unlearnt


class LanguageModel:
    """A language model, to be trained on a corpus and to be asked.

    Parameters
    ----------
    backbone : Backbone
        What to start from. The head begins anew, but for weights it shares with the embeddings; `from_pretrained` keeps
        the head of a checkpoint.
    objective : MaskedLM, CausalLM, PermutationLM or ReplacedTokenDetection, optional
        What to learn; None takes what the backbone is made for.
    strategy : FullFineTuning or LinearProbing, optional
        What is trained; None means ``FullFineTuning()``.
    learning_rate : float, optional
        Peak learning rate; None takes 5e-5, for a new head on a frozen backbone 1e-2. From scratch, 3e-4 to 1e-3 are
        usual.
    optimizer : AdamW, optional
        How gradients become steps: decay, schedule, clipping. None takes the strategy's default.
    epochs : int
        Passes over the corpus.
    max_steps : int, optional
        Optimiser steps to train for, instead of `epochs`.
    batch_tokens : int
        Tokens in one batch, which bound the memory of a step.
    accumulation_steps : int
        Batches for one optimiser step.
    max_length : int, optional
        Longest sequence in tokens, special ones included, at most `batch_tokens`; longer documents become several. None
        takes what the model bears, or `batch_tokens`.
    eval_every : int, optional
        Evaluate every so many optimiser steps instead of each epoch.
    patience : int, optional
        Stop after so many evaluations without improvement; the weights are the last ones either way.
    precision : {"auto", "f32", "bf16"}
        Number format of matrix products; weights, sums and the optimiser's state are float32 always.
    recompute : bool
        Compute each layer again in the backward pass: less memory, more time, the same weights.
    device : {"auto", "cpu"}
        Where to compute.
    random_state : int, RandomState or None
        The same seed gives the same weights, byte for byte. None draws one and records it in ``random_state_``.
    checkpoint_dir : str or path, optional
        Where to keep the state of the run. A run that begins with the same weights and settings as the one whose
        checkpoint is there goes on from it, and ends with the weights and the history it would have had; of a finished
        run that is all there is to do. Another run is refused, and so is one of an older version, which is named.
    checkpoint_every : int, optional
        Optimiser steps between checkpoints; None writes one at the end alone.
    cache_dir : str or path, optional
        Where tokenised corpora lie; None takes ``WARMSTART_CACHE``, else ``~/.cache/warmstart``.
    verbose : bool
        Show a progress bar, and before it the memory that the run will take.

    Attributes
    ----------
    history_ : History
        A row for each evaluation, after `fit`, those before a checkpoint among them.
    random_state_ : int
        The seed, after `fit`.
    n_iter_ : int
        Optimiser steps done, after `fit`.

    Examples
    --------
    >>> model = LanguageModel(backbone, max_steps=2, random_state=0, verbose=False)
    >>> model.fit(["a few texts", "or very many"]).perplexity(["a text"]) > 1
    True
    """

    _limit: int | None = None
    """Where texts that are scored are cut; None where the backbone says."""
    _is_new = _is_random = False
    """Whether its head, and whether all of it, has random weights."""

    @naming_what_was_meant(PARTS)
    def __init__(
        self,
        backbone: Backbone | _core.LanguageModel | _core.ReplacedDetector,
        objective: Objective | None = None,
        *,
        strategy: Strategy | None = None,
        learning_rate: float | None = None,
        optimizer: AdamW | None = None,
        epochs: int = 1,
        max_steps: int | None = None,
        batch_tokens: int = 4096,
        accumulation_steps: int = 1,
        max_length: int | None = None,
        eval_every: int | None = None,
        patience: int | None = None,
        precision: str = "auto",
        recompute: bool = False,
        device: str = "auto",
        random_state: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        verbose: bool = True,
    ) -> None:
        self._seed = as_seed(random_state)
        self._inner: _core.LanguageModel | _core.ReplacedDetector
        if isinstance(backbone, _core.LanguageModel | _core.ReplacedDetector):
            self._inner = backbone
        elif isinstance(objective, ReplacedTokenDetection):
            generator = objective.generator or generator_for(require_backbone(backbone), self._seed)
            self._inner = _core.ReplacedDetector(backbone._inner, require_backbone(generator)._inner, self._seed)
            self._is_new, self._is_random = True, backbone._is_random
        else:
            self._inner = _core.LanguageModel(require_backbone(backbone)._inner, self._seed)
            self._is_random = backbone._is_random
            self._is_new = self._is_random or bool(self._inner.head_parameters)
        self.objective = default_objective(self._inner) if objective is None else require_objective(objective)
        self.strategy = strategy
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_tokens = batch_tokens
        self.accumulation_steps = accumulation_steps
        self.max_length = max_length
        self.eval_every = eval_every
        self.patience = patience
        self.precision = precision
        self.recompute = recompute
        self.device = device
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.cache_dir = cache_dir
        self.verbose = verbose

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        objective: Objective | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        **params: Any,
    ) -> "LanguageModel":
        """Open a Hugging Face directory, a GGUF file or a repository of the hub with its language model's head.

        Parameters
        ----------
        path, revision, token
            As `Backbone.from_pretrained` takes them.
        objective, **params
            As in `LanguageModel`; ``verbose`` also shows the progress bars of ``huggingface_hub``.

        Raises
        ------
        FileNotFoundError
            It is not there.
        WeightsError
            The checkpoint has no such head; ``LanguageModel(Backbone.from_pretrained(path))`` begins a new one.

        Warns
        -----
        UserWarning
            As `Backbone.from_pretrained` warns.
        """
        place = fetched(path, revision, token, params.get("verbose", True))
        inner = _core.LanguageModel.from_pretrained(place)
        warn_notes(inner.backbone)
        return cls(inner, objective, **params)

    @property
    def backbone(self) -> Backbone:
        """The backbone as it is now: after `fit`, the trained one."""
        backbone = Backbone(self._inner.backbone)
        backbone._is_random = self._is_random
        return backbone

    @property
    def generator(self) -> "LanguageModel":
        """The generator that was trained beside a detector of replaced tokens.

        Raises
        ------
        AttributeError
            The objective has none.
        """
        if not isinstance(self._inner, _core.ReplacedDetector):
            raise AttributeError(f"{self.objective!r} trains no generator")
        rate = self.objective.rate  # type: ignore[attr-defined]
        generator = LanguageModel(self._inner.generator, MaskedLM(rate=rate), verbose=self.verbose)
        generator._is_new = self._is_new
        return generator

    @property
    def n_parameters(self) -> int:
        """Values of all parameters, head included."""
        return self._inner.n_parameters

    @naming_what_was_meant({"LanguageModel({}=...)": list(signature(__init__).parameters)[1:]})
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        eval_set: Any = None,
        text_field: str = "text",
        on_error: str = "stop",
    ) -> "LanguageModel":
        """Train on a corpus; a second call goes on from the weights of the first.

        Parameters
        ----------
        X : iterable of str, path, or list of paths
            The corpus. Texts, each a document; or files: ``.txt``, whose documents are separated by blank lines,
            ``.jsonl``, ``.parquet``. Tokenised once into a cache.
        y : None
            Not used: a language model learns from the texts alone.
        eval_set : the same, or float, optional
            Texts to evaluate on; or the part of the corpus' tokens, from its end, that is kept for that.
        text_field : str
            The field or column of the text in ``.jsonl`` and ``.parquet``.
        on_error : {"stop", "skip"}
            What to do with lines that cannot be read.

        Returns
        -------
        LanguageModel
            Itself.

        Raises
        ------
        DataError
            The corpus is empty, a line of it cannot be read, or its sequences are too short for the objective.
        TrainingError
            The loss is not finite; the weights go back to the last evaluation. Or a checkpoint is of another run.
        ValueError
            A parameter is out of its range, or the backbone cannot serve the objective: which it can is said.
        KeyboardInterrupt
            Ctrl-C; what was learnt so far is kept.
        DeviceError
            The machine has less memory than the run takes; the message says what helps.

        Warns
        -----
        UserWarning
            Lines were left out, or documents are mostly words that the vocabulary lacks.
        ConvergenceWarning
            The loss is hardly below that of guessing; what may help is said.
        """
        run = prepare(self._inner, self._settings(), X, eval_set, text_field, on_error)
        needed = run.checked_memory()
        if self.verbose:
            print(needed.line(), file=sys.stderr)
        if isinstance(self._inner, _core.ReplacedDetector):
            metric, scorer = "loss", lambda _, loss: -loss
        else:
            metric, scorer = "perplexity", lambda _, loss: float(np.exp(min(loss, 80.0)))
        monitor = FitMonitor(metric, scorer, self.verbose)
        try:
            model, facts, stopped = run.fit(monitor)
        finally:
            monitor.close()
        if model is None:
            raise stopped or _core.TrainingError("the run ended before its first step was done")
        self._inner, self._is_new, self._is_random = model, False, False
        if facts["was_finished"] and self.verbose:
            print(
                f"{self.checkpoint_dir}: this run was finished already, after step {facts['steps']}; nothing was "
                "trained. To train on, begin from this model with another checkpoint_dir",
                file=sys.stderr,
            )
        self.history_: History = History.of_run(facts.pop("history"), metric, facts["best_step"])
        self.random_state_ = self._seed
        self.n_iter_ = facts["steps"]
        if stopped is not None:
            raise stopped
        if metric == "perplexity" and self.history_.rows:
            last, vocabulary = self.history_.rows[-1]["loss"], self._inner.backbone.vocab_size
            for doubt in of_pretraining(last, vocabulary, run.options, self.n_iter_):
                warn_unlearnt(doubt)
        return self

    def estimate_memory(
        self, X: Any, y: Any = None, *, eval_set: Any = None, text_field: str = "text", on_error: str = "stop"
    ) -> MemoryEstimate:
        """Estimate the peak of the process's memory during ``fit`` with the same arguments, without training.

        Parameters
        ----------
        X, y, eval_set, text_field, on_error
            As in `fit`; a corpus that is not in the cache is tokenised.

        Returns
        -------
        MemoryEstimate
            In bytes; shows itself as a table.

        Raises
        ------
        DataError, ValueError
            As `fit` raises them for its arguments.

        Examples
        --------
        >>> LanguageModel(backbone, verbose=False).estimate_memory(texts).total > 0
        True
        """
        return prepare(self._inner, self._settings(), X, eval_set, text_field, on_error).memory()

    def score(self, X: Texts) -> list[NDArray[np.float32]]:
        """Return the logarithm of the probability of each token of each text.

        A causal model gives it from the tokens before, so that the first has none; others from all other tokens, in one
        pass for each of them (pseudo-log-likelihoods, Salazar et al. 2020).

        Parameters
        ----------
        X : sequence of str
            N texts; what is longer than the model bears is cut, with a warning.

        Returns
        -------
        list of ndarray of float32
            One array for each text, a value for each of its tokens, special ones included; NaN where nothing can be
            said: of the token that stands for unknown words; of a causal model's first token; of others of special
            tokens, also those written in the text.

        Raises
        ------
        WeightsError
            A probability is not a number; the tensors at fault are named.
        """
        model = self._asked()
        encodings = encode(model.backbone, X, self._limit)
        warn_unread(encodings)
        with TokenBar(encodings.n_tokens, "scoring", self.verbose and model.backbone.is_causal, delay_s=1.0) as bar:
            return model.token_scores(encodings, EMBED_BATCH_TOKENS, self.precision, bar.callback)

    def perplexity(self, X: Texts) -> float:
        """Return the exponential of the mean negative logarithm of the tokens' probabilities, over all texts.

        For models that are not causal this is the pseudo-perplexity.

        Raises
        ------
        ValueError
            No token has a probability: there are no texts, or each has one token, special and unknown ones aside.
        WeightsError
            As `score` raises it.
        """
        scores = np.concatenate([np.empty(0, np.float32), *self.score(X)])
        known = scores[~np.isnan(scores)].astype(np.float64)
        if not len(known):
            raise ValueError(
                "no token of these texts can be predicted; give at least one text of two tokens, special ones and "
                "those of unknown words aside"
            )
        return float(np.exp(-known.mean()))

    def fill_mask(self, texts: str | Texts, top_k: int = 5) -> Any:
        """Return the likeliest tokens in the place of each mask token of a text.

        Parameters
        ----------
        texts : str or sequence of str
            One or several, each with the tokenizer's mask token, as in ``"Paris is the [MASK] of France."``.
        top_k : int
            How many.

        Returns
        -------
        list of list of (str, float)
            For each mask, tokens with their probabilities, the likeliest first; of several texts, one such list for
            each.

        Raises
        ------
        ValueError
            There is no mask in one, or the model is causal.
        """
        model = self._asked()
        single, top = isinstance(texts, str), positive_int("top_k", top_k)
        encodings = encode(model.backbone, [texts] if single else texts, self._limit)
        warn_unread(encodings)
        tokenizer = self.backbone.tokenizer

        def named(best: list[tuple[int, float]]) -> list[tuple[str, float]]:
            tokens = tokenizer.decode([[i] for i, _ in best], False)
            return [(token, p) for token, (_, p) in zip(tokens, best, strict=True)]

        found = [
            [named(best) for best in model.fill_masks(encodings, text, top, self.precision)]
            for text in range(len(encodings))
        ]
        return found[0] if single else found

    def generate(
        self,
        prompts: str | Sequence[str],
        max_new_tokens: int | None = None,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: str | Sequence[str] | None = None,
        random_state: Any = None,
        stream: Callable[..., object] | None = None,
    ) -> Any:
        """Let a causal model go on with texts.

        A text ends at the end-of-text tokens of the model's ``generation_config.json``, else of its ``config.json`` and
        tokenizer. An argument that is None takes the value of that file, or where there is none of ``config.json``,
        else the default named here. ``"do_sample": false`` in ``generation_config.json`` is a temperature of 0, unless
        `temperature`, `top_k` or `top_p` is given.

        Parameters
        ----------
        prompts : str or sequence of str
            One or several; what one gives does not depend on the others.
        max_new_tokens : int, optional
            Stop after so many tokens, if no end-of-text token comes before; or where prompt and text are as long as
            what the model bears. None takes the file's, or its ``max_length`` for prompt and text together, else 50.
        temperature : float, optional
            What logits are divided by; 0 takes the likeliest token each time. None takes the file's, else 1; of a file
            with 0, beside a `top_k` or `top_p` that is given, 1.
        top_k : int, optional
            Draw from so many of the likeliest tokens only; a number as large as the vocabulary draws from all. None
            takes the file's, else all.
        top_p : float, optional
            Draw from the likeliest tokens that together have this probability (nucleus sampling). None takes the
            file's, else 1.
        repetition_penalty : float, optional
            Above 1, tokens that are in prompt or text already become less likely (Keskar et al. 2019). None takes the
            file's, else 1.
        stop : str or sequence of str, optional
            Texts that end one; they are not part of what is returned. None takes the file's ``stop_strings``.
        random_state : int, RandomState or None
            The seed of what is drawn.
        stream : callable, optional
            Gets the text as it is written, piece by piece: ``stream(piece)`` for one prompt, ``stream(index, piece)``
            for several.

        Returns
        -------
        str or list of str
            What follows each prompt.

        Raises
        ------
        ValueError
            The model is not causal; a prompt is longer than what the model bears; a parameter is out of range.
        DataError
            ``generation_config.json`` cannot be read.

        Warns
        -----
        UserWarning
            The file has settings that change texts and are not there, as ``num_beams``; they are named.

        Examples
        --------
        >>> gpt2 = LanguageModel(Backbone.from_config("gpt2", backbone.tokenizer, n_embd=24, n_layer=1, n_head=3))
        >>> isinstance(gpt2.generate("a text", max_new_tokens=3), str)
        True
        """
        single = isinstance(prompts, str)
        model = self._asked()
        file, config = model.generation_config
        options = generation_options(
            json.loads(config),
            file,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            stop=stop,
        )
        options |= {"seed": as_seed(random_state), "precision": self.precision}
        on_text = (lambda _, piece: stream(piece)) if single and stream is not None else stream
        texts, _ = normalise([prompts] if single else prompts, "prompts")
        found = model.generate(texts, json.dumps(options), on_text)
        return found[0] if single else found

    def save(self, path: str | os.PathLike[str], *, max_shard_size: int | str = MAX_SHARD_SIZE) -> None:
        """Write a Hugging Face directory that `load`, `from_pretrained` and transformers read.

        Parameters
        ----------
        path : str or path
            The directory.
        max_shard_size : int or str
            Weights of more bytes than this, as in ``"200MB"``, become several files with an index.

        Raises
        ------
        OSError
            The directory cannot be written; an older save there survives.
        """
        from warmstart.saving import save_language_model

        save_language_model(self, os.fspath(path), byte_count("max_shard_size", max_shard_size))

    def _asked(self) -> _core.LanguageModel:
        check_compute(self.precision, self.device, INFERENCE_PRECISIONS)
        if isinstance(self._inner, _core.ReplacedDetector):
            raise ValueError("a detector of replaced tokens gives no probabilities of tokens; ask its .generator")
        if self._is_new:
            warn(
                "this language model is untrained: its head has random weights, and so has what it says; fit(corpus) "
                "trains it, and LanguageModel.from_pretrained(path) opens one with the head of a checkpoint"
            )
        return self._inner

    def _settings(self) -> dict[str, Any]:
        names = (
            "objective",
            "strategy",
            "learning_rate",
            "optimizer",
            "epochs",
            "max_steps",
            "batch_tokens",
            "accumulation_steps",
            "max_length",
            "eval_every",
            "patience",
            "precision",
            "recompute",
            "device",
            "checkpoint_dir",
            "checkpoint_every",
            "cache_dir",
            "verbose",
        )
        return {name: getattr(self, name) for name in names} | {"seed": self._seed}

    def __repr__(self) -> str:
        return f"LanguageModel({self.backbone!r}, {self.objective!r})"
