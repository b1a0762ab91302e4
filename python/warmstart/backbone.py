"""`Backbone`: a pretrained transformer and its tokenizer."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.configurations import configuration_text
from warmstart.hub import fetched
from warmstart.options import (
    EMBED_BATCH_TOKENS,
    MAX_SHARD_SIZE,
    as_seed,
    byte_count,
    check_precision,
    flag,
    one_of,
    optional_positive_int,
    positive_int,
)
from warmstart.progress import TokenBar
from warmstart.summary import Summary
from warmstart.tables import format_count, html_table
from warmstart.texts import Texts, encode, warn_unread
from warmstart.tokenizer import Tokenizer, batches
from warmstart.warn import warn_notes

POOLINGS = ("mean", "cls", "last", "max", "mean_sqrt_len", "weighted_mean")


class Vectors(NamedTuple):
    """The vectors that `embed` returns: pooled hidden states, or if `layers` is None those of the model directory."""

    layers: list[int] | None
    pooling: list[str]


class Backbone:
    """A pretrained transformer and its tokenizer. Immutable: training makes a new one.

    Open one with `from_pretrained` or make one with `from_config`. Copying gives the same object, so that
    ``sklearn.base.clone`` never copies weights; pickling takes them along.

    Examples
    --------
    >>> backbone = Backbone.from_pretrained("path/to/hf-dir")
    >>> vectors = backbone.embed(["a text", "another"])
    >>> vectors.shape == (2, backbone.hidden_size)
    True
    """

    __slots__ = ("_inner", "_is_random")

    def __init__(self, inner: _core.Backbone) -> None:
        if not isinstance(inner, _core.Backbone):
            raise TypeError(
                f"got {type(inner).__name__}; open one with Backbone.from_pretrained(path) or make one with "
                "Backbone.from_config(config, tokenizer)"
            )
        self._inner = inner
        self._is_random = False

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        verbose: bool = True,
    ) -> "Backbone":
        """Open a Hugging Face directory, or fetch a repository of the Hugging Face hub.

        Parameters
        ----------
        path : str or path
            A GGUF file, or a directory with one alone; or a directory, also of sentence-transformers, that holds
            ``config.json``, the weights
            (``model.safetensors``, also sharded, or ``pytorch_model.bin``) and a tokenizer: the first of
            ``tokenizer.json``, ``vocab.txt``, ``vocab.json`` with ``merges.txt``, ``spiece.model``,
            ``sentencepiece.bpe.model``, ``tokenizer.model``, ``spm.model``. A str that is no path here
            and reads ``"org/name"`` or ``"name"`` is a repository: the files needed are fetched by ``huggingface_hub``
            (extra ``hub``) into its cache, and found there from then on, also with ``HF_HUB_OFFLINE=1``.
            `embed` follows the files of sentence-transformers, such as ``modules.json``.
        revision : str, optional
            Branch, tag or commit of the repository; None is its main branch.
        token : str or bool, optional
            Access token; None takes ``HF_TOKEN`` or that of ``hf auth login``, False takes none.
        verbose : bool
            Show the progress bars of ``huggingface_hub``.

        Raises
        ------
        FileNotFoundError
            The directory, one of its files, or the repository or its revision is not there.
        ImportError
            ``huggingface_hub`` is not installed.
        ValueError
            `revision` is given for a path, or the path is a file that is no GGUF file.
        WarmstartError
            The hub refuses, cannot be reached, or its switch says offline and the cache has no whole copy.
        WeightsError
            The weights are unreadable or do not fit the configuration; every tensor at fault is named.
        DeviceError
            The machine has less memory than the weights take in float32.

        Warns
        -----
        UserWarning
            The hub cannot be reached, and the copy in the cache is taken. Weights are NaN or infinite: they are named.
            The checkpoint has a task head, which is left out; pretraining heads are left out without a warning.
            The tokenizer has added tokens that the model has no rows for. A setting of a file is not followed, as
            ``dropout`` in a ``tokenizer.json``, which is switched off.

        Notes
        -----
        The files beside a ``tokenizer.json`` are applied as in transformers 4.57: ``tokenizer_config.json``,
        ``special_tokens_map.json`` and ``added_tokens.json``. Without the first, ``tokenizer.json`` is taken as it
        stands.

        Weights in float32 are not copied: ``.safetensors`` files stay mapped while the backbone lives. Put a new file
        in their place, as saving does, rather than change one. Every weight is read once, to see that it is finite.
        """
        inner = _core.Backbone.from_pretrained(fetched(path, revision, token, verbose))
        warn_notes(inner)
        return cls(inner)

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any] | str | os.PathLike[str],
        tokenizer: Tokenizer | str | os.PathLike[str],
        random_state: Any = None,
        **fields: Any,
    ) -> "Backbone":
        """Make a backbone with random weights, distributed as the family's authors published.

        Parameters
        ----------
        config : str, mapping or path
            The name of a model type, as ``"bert"`` or ``"gpt2"``; or the contents of a ``config.json``, its path,
            or a directory that holds one.
        tokenizer : Tokenizer or path
            Result of `train_tokenizer`, or a directory that holds a tokenizer.
        random_state : int, RandomState or None
            Seed of the weights; None draws one.
        **fields
            Fields that replace those of the configuration, by their names in ``config.json``. With a model type, other
            fields have transformers' defaults, and ``vocab_size`` is the tokenizer's.

        Raises
        ------
        DeviceError
            The machine has less memory than the weights take.
        ValueError
            A field of the configuration is missing or not supported, or the model type is unknown.

        Examples
        --------
        >>> small = Backbone.from_config("gpt2", backbone.tokenizer, n_embd=24, n_layer=2, n_head=3, random_state=0)
        >>> small.hidden_size
        24
        """
        source = tokenizer._inner if isinstance(tokenizer, Tokenizer) else os.fspath(tokenizer)
        text = configuration_text(config, fields)
        inner = _core.Backbone.from_config(text, source, as_seed(random_state))
        warn_notes(inner)
        backbone = cls(inner)
        backbone._is_random = True
        return backbone

    def save_pretrained(self, path: str | os.PathLike[str], *, max_shard_size: int | str = MAX_SHARD_SIZE) -> None:
        """Write a Hugging Face directory that `from_pretrained` and transformers read; an older one is replaced whole.

        Parameters
        ----------
        path : str or path
            The directory.
        max_shard_size : int or str
            Weights of more bytes than this, as in ``"200MB"``, become several files with an index.
        """
        self._inner.save_pretrained(os.fspath(path), byte_count("max_shard_size", max_shard_size))

    def with_adapter(
        self, path: str | os.PathLike[str], *, name: str = "default", allow_other_base: bool = False
    ) -> "Backbone":
        """Put an adapter on a copy of this backbone, which itself stays as it is; both share their weights.

        A head that the adapter brings is left out; ``TextClassifier.from_pretrained(base, adapter=path)`` opens both.

        Parameters
        ----------
        path : str or path
            A directory as PEFT or ``save_adapter`` write it: ``adapter_config.json`` and
            ``adapter_model.safetensors``, of LoRA, DoRA or MiSS.
        name : str
            Name of the adapter; several on one backbone have names of their own, and add up.
        allow_other_base : bool
            Whether it may have been made on a backbone with other weights, if its files say on which.

        Raises
        ------
        FileNotFoundError
            It is not there.
        ValueError
            It is of another kind, of another backbone, or the name is taken.
        WeightsError
            Its tensors do not fit this backbone; all of them are named.
        """
        return Backbone(self._inner.with_adapter(os.fspath(path), name, flag("allow_other_base", allow_other_base)))

    @property
    def adapters(self) -> list[str]:
        """Names of the adapters on it."""
        return self._inner.adapters

    def merge_adapter(self) -> "Backbone":
        """Return a copy without adapters, whose weights have them merged, computed in float64 and kept in float32."""
        return Backbone(self._inner.merged())

    def summary(self) -> Summary:
        """List the modules with their shapes, numbers of parameters, number formats and bytes.

        Examples
        --------
        >>> backbone.summary().n_parameters == backbone.n_parameters
        True
        """
        return Summary(self._inner.parameters())

    def extend_vocabulary(self, corpus_or_tokens: Iterable[str], n_tokens: int | None = None) -> "Backbone":
        """Give the model new tokens; old ids, pieces and merges stay.

        A new row of the embedding table is the mean of the rows of the pieces that it replaces. A word becomes one
        token where a space precedes it. A token that would be cut into several words, as ``[NEW]``, is matched as
        it is written. In byte-pair encoding a word of k pieces takes k - 1 tokens, as its merges need them.

        Parameters
        ----------
        corpus_or_tokens : iterable of str
            The tokens; with `n_tokens`, texts to choose them from.
        n_tokens : int, optional
            Choose whole words that are split now, those first for which occurrences times pieces saved is largest, and
            that occur twice or more, until this many tokens are new.

        Returns
        -------
        Backbone
            A new backbone; its configuration's ``vocab_size`` is raised if it was too small.

        Raises
        ------
        TypeError
            An element is no str.
        ValueError
            A token is blank, or this tokenizer cannot be extended.
        """
        n_tokens = optional_positive_int("n_tokens", n_tokens)
        return Backbone(self._inner.extend_vocabulary(batches(corpus_or_tokens), n_tokens))

    @property
    def family(self) -> str:
        """Architecture, as ``model_type`` of the configuration names it."""
        return self._inner.family

    @property
    def config(self) -> dict[str, Any]:
        """The contents of ``config.json``; a fresh dict every time."""
        return dict(json.loads(self._inner.config))

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return Tokenizer(self._inner.tokenizer)

    @property
    def n_layers(self) -> int:
        """Number of transformer layers."""
        return self._inner.n_layers

    @property
    def hidden_size(self) -> int:
        """Width D of the hidden states."""
        return self._inner.hidden_size

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return self._inner.n_parameters

    @property
    def max_length(self) -> int:
        """Longest text in tokens, special tokens included; `max_length_source` says where it comes from."""
        return self._inner.max_length

    @property
    def max_length_source(self) -> str:
        """Source of `max_length`: a field of one of the directory's files, or the number of positions of the model."""
        return self._inner.max_length_source

    def embed(
        self,
        texts: Texts,
        layers: int | Sequence[int] = -1,
        pooling: str | Sequence[str] = "auto",
        max_length: int | None = None,
        normalize: bool | None = None,
        batch_tokens: int = EMBED_BATCH_TOKENS,
        precision: str = "auto",
        verbose: bool = False,
    ) -> NDArray[np.float32]:
        """Turn texts into vectors.

        For a sentence-transformers directory, ``layers=-1`` with ``pooling="auto"`` gives the vectors of
        ``SentenceTransformer.encode``: its prompt, its poolings, its dense layers, its norm. Anything else,
        including a list as ``layers=[-1]``, gives pooled hidden states and nothing more.

        Parameters
        ----------
        texts : sequence of str or of pairs of str
            N texts, in any container.
        layers : int or sequence of int
            Hidden states to use: 0 is the embedding output, ``n_layers`` or -1 the last. Several are concatenated.
        pooling : {"auto", "mean", "cls", "last", "max", "mean_sqrt_len", "weighted_mean"} or a sequence of them
            Pooling of token vectors into one text vector; several are concatenated, for each layer. "auto" follows the
            model directory, else it is the mean, or the last token of a decoder.
        max_length : int, optional
            Maximum length in tokens; longer texts are truncated. None takes the backbone's `max_length`.
        normalize : bool, optional
            Divide each row by its length. None does what the model directory asks for where ``layers=-1`` and
            ``pooling="auto"``, and nothing elsewhere.
        batch_tokens : int
            Tokens per batch.
        precision : {"auto", "f32", "bf16", "int8"}
            Number format of matrix products; "auto" is bf16 where the processor has instructions for it, else f32.
        verbose : bool
            Show a progress bar.

        Returns
        -------
        ndarray of float32, shape (N, D)
            In input order; ``(N, k * p * D)`` for k layers in p poolings, or as wide as the last dense layer.

        Raises
        ------
        TypeError
            A text is no str; its index is named.
        ValueError
            A layer or pooling does not exist.
        WeightsError
            A vector is not finite; the tensors at fault are named.

        Warns
        -----
        UserWarning
            Texts were truncated, or are mostly words that the vocabulary lacks; their number is told.
        """
        vectors = self.resolve_vectors(layers, pooling)
        of_directory = vectors.layers is None and self._inner.normalizes
        normalize = of_directory if normalize is None else flag("normalize", normalize)
        batch_tokens = positive_int("batch_tokens", batch_tokens)
        check_precision(precision)
        prompt = self._inner.prompt if vectors.layers is None else None
        encodings = encode(self._inner, texts, optional_positive_int("max_length", max_length), prompt=prompt or "")
        if not len(encodings):
            size = self._inner.vector_size(vectors.layers, vectors.pooling)
            return np.empty((0, size), dtype=np.float32)
        warn_unread(encodings)
        with TokenBar(encodings.n_tokens, "embedding", verbose, delay_s=1.0) as bar:
            return self._inner.embed(
                encodings,
                vectors.layers,
                vectors.pooling,
                normalize,
                batch_tokens,
                precision,
                bar.callback,
            )

    def resolve_vectors(self, layers: int | Sequence[int], pooling: str | Sequence[str]) -> "Vectors":
        """Convert `layers` and `pooling` of `embed` to the core's arguments."""
        indices, how = self.resolve_layers(layers), self.resolve_pooling(pooling)
        are_single = isinstance(pooling, str) and not isinstance(layers, Sequence | np.ndarray)
        is_of_directory = are_single and pooling == "auto" and indices == [self.n_layers]
        return Vectors(None if is_of_directory else indices, how)

    def resolve_layers(self, layers: int | Sequence[int]) -> list[int]:
        """Convert `layers` of `embed` to indices from 0 (embedding output) to ``n_layers``."""
        wanted = list(layers) if isinstance(layers, Sequence | np.ndarray) and not isinstance(layers, str) else [layers]
        if not wanted:
            raise ValueError("layers is empty; name at least one, as in layers=-1")
        n = self.n_layers
        for layer in wanted:
            if isinstance(layer, bool) or not isinstance(layer, int | np.integer):
                raise TypeError(f"layers must be an int or a list of int, got {layer!r} ({type(layer).__name__})")
            if not -(n + 1) <= layer <= n:
                raise ValueError(
                    f"layers={int(layer)} does not exist: 0 is the embedding output, {n} or -1 the last layer here"
                )
        return [int(layer) % (n + 1) for layer in wanted]

    def resolve_pooling(self, pooling: str | Sequence[str]) -> list[str]:
        """Return the poolings; "auto" is replaced by that of the model directory."""
        if isinstance(pooling, str) and pooling == "auto":
            return self._inner.default_pooling
        if isinstance(pooling, str) or not isinstance(pooling, Sequence | np.ndarray):
            return [one_of("pooling", pooling, ("auto", *POOLINGS))]
        if not len(pooling):
            raise ValueError('pooling is empty; name at least one, as in pooling="mean"')
        if "auto" in pooling:
            raise ValueError('pooling holds "auto", which stands alone, as in pooling="auto"')
        return [one_of("pooling", each, POOLINGS) for each in pooling]

    def __repr__(self) -> str:
        inner = self._inner
        parts = [
            f"{inner.family}, {inner.n_layers} layers x {inner.hidden_size}",
            f"{format_count(inner.n_parameters)} parameters",
            f"vocabulary of {inner.vocab_size}, up to {inner.max_length} tokens ({inner.max_length_source}), "
            f"from {inner.source!r}",
        ]
        found = inner.load_report()
        for kind in ("missing", "ignored", "converted", "not_finite"):
            if found[kind]:
                parts.append(
                    f"{len(found[kind])} {'tensor' if len(found[kind]) == 1 else 'tensors'} {kind.replace('_', ' ')}"
                )
        return f"Backbone({', '.join(parts)})"

    @property
    def load_report(self) -> dict[str, Any]:
        """Report on the checkpoint's tensors at loading.

        ``loaded`` is a count; ``missing`` (newly initialised), ``ignored`` (heads and buffers), ``converted`` (to
        float32) and ``not_finite`` (NaN or infinite values) are lists of names. ``prefix`` is what stood before every
        name and was taken off, as ``module.`` of ``DataParallel``. A tensor that fits no plan is a `WeightsError`.
        """
        return self._inner.load_report()

    def _repr_html_(self) -> str:
        inner = self._inner
        found = inner.load_report()
        rows: list[tuple[str, Any]] = [
            ("family", inner.family),
            ("from", inner.source),
            ("layers", str(inner.n_layers)),
            ("attention heads", str(inner.n_heads)),
            ("hidden size", str(inner.hidden_size)),
            ("parameters", f"{inner.n_parameters:,}"),
            ("vocabulary", f"{inner.vocab_size:,}"),
            ("longest text", f"{inner.max_length} tokens ({inner.max_length_source})"),
            ("pooling", " and ".join(inner.default_pooling)),
            ("sentence vectors", f"{inner.vector_size(None, [])} values" + ", of length 1" * inner.normalizes),
        ]
        for kind in ("missing", "ignored", "converted", "not_finite"):
            names = found[kind]
            if names:
                rows.append(
                    (
                        f"tensors {kind.replace('_', ' ')}",
                        f"{len(names)}: {', '.join(names[:4])}{', …' if len(names) > 4 else ''}",
                    )
                )
        return html_table(("", ""), rows, caption="Backbone")

    def __copy__(self) -> "Backbone":
        return self

    def __deepcopy__(self, memo: Any) -> "Backbone":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (Backbone, (self._inner,), self._is_random)

    def __setstate__(self, is_random: bool) -> None:
        self._is_random = is_random
