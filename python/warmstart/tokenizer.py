"""`Tokenizer` and `train_tokenizer`: text to token ids and back, and training of new vocabularies."""

import os
from collections.abc import Iterable, Sequence

from warmstart import _core
from warmstart.options import optional_positive_int, positive_int
from warmstart.texts import Texts, encode

_BATCH_CHARACTERS = 1 << 20


class Tokenizer:
    """Converts texts to token ids and back. Train one with `train_tokenizer`; a backbone has ``backbone.tokenizer``.

    Examples
    --------
    >>> tokenizer = train_tokenizer(["the cat sat", "the cat ran"] * 2, kind="wordpiece", vocab_size=60)
    >>> tokenizer.decode(tokenizer.encode(["the cat"]))
    ['the cat']
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: _core.Tokenizer) -> None:
        if not isinstance(inner, _core.Tokenizer):
            raise TypeError(f"got {type(inner).__name__}; make a Tokenizer with train_tokenizer(corpus, ...)")
        self._inner = inner

    @property
    def vocab_size(self) -> int:
        """The largest id plus one: the minimum ``vocab_size`` of a model."""
        return self._inner.vocab_size

    def encode(self, texts: Texts, max_length: int | None = None) -> list[list[int]]:
        """Turn texts into ids, special tokens included.

        Parameters
        ----------
        texts : sequence of str or of pairs of str
            N texts, in any container.
        max_length : int, optional
            Maximum length in tokens; longer texts are truncated. None truncates nothing.

        Returns
        -------
        list of list of int
            The ids of each text.

        Raises
        ------
        TypeError
            A text is no str; its index is named.
        """
        encodings = encode(self._inner, texts, optional_positive_int("max_length", max_length))
        return [encodings.ids(index).tolist() for index in range(len(encodings))]

    def decode(self, ids: Iterable[Sequence[int]], skip_special_tokens: bool = True) -> list[str]:
        """Turn ids into texts.

        Parameters
        ----------
        ids : iterable of sequence of int
            The ids of each text; ids that are not in the vocabulary are skipped.
        skip_special_tokens : bool
            Leave out special tokens.

        Returns
        -------
        list of str
            The texts.
        """
        return self._inner.decode([list(text) for text in ids], skip_special_tokens)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json`` into a directory, as transformers reads them."""
        self._inner.save(os.fspath(path))

    def __repr__(self) -> str:
        return f"Tokenizer(vocabulary of {self.vocab_size})"

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[_core.Tokenizer]]:
        return (Tokenizer, (self._inner,))


def train_tokenizer(
    corpus: Iterable[str],
    kind: str = "wordpiece",
    vocab_size: int = 30_000,
    *,
    family: str | None = None,
    min_frequency: int = 2,
    lowercase: bool | None = None,
) -> Tokenizer:
    """Train a tokenizer. The same corpus gives the same bytes, whatever the number of threads.

    Parameters
    ----------
    corpus : iterable of str
        Texts; read once, so a generator may stream what does not fit into memory.
    kind : {"wordpiece", "bpe", "unigram"}
        WordPiece; byte-level byte-pair encoding, which knows every text; unigram language model.
    vocab_size : int
        Maximum number of tokens, special ones included; a small corpus gives fewer.
    family : {"bert", "gpt2", "roberta", "xlnet", "albert"}, optional
        Model family whose special tokens, template and layout are used: "bert" for WordPiece, "gpt2" (default) or
        "roberta" for BPE, "xlnet" (default) or "albert" for unigram.
    min_frequency : int
        Minimum count of a piece, and of a character that bytes cannot replace; rarer ones are left out.
    lowercase : bool, optional
        Whether to lower-case texts and strip accents; None takes the family's habit: True for "bert" and "albert".

    Returns
    -------
    Tokenizer
        Save it, or give it to `Backbone.from_config`.

    Raises
    ------
    DataError
        The corpus has no words.
    TypeError
        A text is no str; its index is named.
    ValueError
        `vocab_size` has no room for special tokens and single characters, or an argument is unknown.
    """
    trainer = _core.TokenizerTrainer(
        kind, family, positive_int("vocab_size", vocab_size), positive_int("min_frequency", min_frequency), lowercase
    )
    for batch in batches(corpus):
        trainer.feed(batch)
    return Tokenizer(trainer.train())


def batches(corpus: Iterable[str]) -> Iterable[list[str]]:
    """Split a corpus into lists of about a million characters.

    Parameters
    ----------
    corpus : iterable of str
        Texts.

    Yields
    ------
    list of str
        The texts, in order.

    Raises
    ------
    TypeError
        The corpus is one str, or an element is none; its index is named.
    ValueError
        A text holds a lone surrogate.
    """
    if isinstance(corpus, str | bytes):
        raise TypeError(f"corpus is one {type(corpus).__name__}; expected an iterable of texts")
    batch: list[str] = []
    characters = 0
    for index, text in enumerate(corpus):
        if not isinstance(text, str):
            raise TypeError(f"corpus[{index}] is {text!r:.40} ({type(text).__name__}); expected str")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"corpus[{index}] is not valid Unicode: {error}") from None
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
