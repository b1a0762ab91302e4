"""`Asking`: inference of a language model: token probabilities, mask filling, text generation."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart import _core
from warmstart.generation import generation_options
from warmstart.options import EMBED_BATCH_TOKENS, as_seed, positive_int
from warmstart.progress import TokenBar
from warmstart.texts import Texts, encode, normalise, warn_unread
from warmstart.tokenizer import Tokenizer


class Asking:
    """Inference methods of `LanguageModel`, which work before `fit`, too."""

    precision: str
    verbose: bool
    _limit: int | None
    """Maximum length of texts that are scored, in tokens; None takes the backbone's."""

    def _asked(self) -> _core.LanguageModel:
        """Return the core model that runs inference."""
        raise NotImplementedError

    def score(self, X: Texts, y: Any = None) -> float:
        """Return the mean log probability of a token, higher is better: minus the logarithm of `perplexity`.

        Parameters
        ----------
        X : sequence of str
            N texts.
        y : None
            Not used: scikit-learn's searches and pipelines pass it.

        Raises
        ------
        TypeError
            `y` is not None.
        ValueError
            As `perplexity` raises it.
        """
        refuse_labels(y)
        return -float(np.log(self.perplexity(X)))

    def token_log_probs(self, X: Texts) -> list[NDArray[np.float32]]:
        """Return the logarithm of the probability of each token of each text.

        A causal model predicts a token from those before it, so the first token has no value. Other models predict it
        from all other tokens, in one pass for each token (pseudo-log-likelihoods, Salazar et al. 2020).

        Parameters
        ----------
        X : sequence of str
            N texts; a text longer than the model supports is truncated, with a warning.

        Returns
        -------
        list of ndarray of float32
            One array for each text, a value for each of its tokens, special ones included. NaN for unknown tokens; for
            the first token of a causal model; for special tokens of other models, also those written in the text.

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
            As `token_log_probs` raises it.
        """
        scores = np.concatenate([np.empty(0, np.float32), *self.token_log_probs(X)])
        known = scores[~np.isnan(scores)].astype(np.float64)
        if not len(known):
            raise ValueError(
                "no token of these texts can be predicted; give at least one text of two tokens, special ones and "
                "those of unknown words aside"
            )
        return float(np.exp(-known.mean()))

    def fill_mask(self, texts: str | Texts, top_k: int = 5) -> Any:
        """Return the likeliest tokens for each mask token of a text.

        Parameters
        ----------
        texts : str or sequence of str
            One or several texts, each with the tokenizer's mask token, as in ``"Paris is the [MASK] of France."``.
        top_k : int
            Number of tokens to return per mask.

        Returns
        -------
        list of list of (str, float)
            For each mask, tokens with their probabilities, the likeliest first; for several texts, a list of such
            lists.

        Raises
        ------
        ValueError
            A text has no mask token, or the model is causal.
        """
        model = self._asked()
        single, top = isinstance(texts, str), positive_int("top_k", top_k)
        encodings = encode(model.backbone, [texts] if single else texts, self._limit)
        warn_unread(encodings)
        tokenizer = Tokenizer(model.backbone.tokenizer)

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
        """Generate continuations of prompts with a causal model.

        A text ends at the end-of-text tokens of the model's ``generation_config.json``, else of its ``config.json`` and
        tokenizer. An argument that is None takes the value of that file, or where there is none of ``config.json``,
        else the default named here. ``"do_sample": false`` in ``generation_config.json`` is a temperature of 0, unless
        `temperature`, `top_k` or `top_p` is given.

        Parameters
        ----------
        prompts : str or sequence of str
            One or several prompts; the result of one does not depend on the others.
        max_new_tokens : int, optional
            Maximum number of new tokens, if no end-of-text token comes before; prompt and text together are at most as
            long as the model supports. None takes the file's, or its ``max_length`` for both together, else 50.
        temperature : float, optional
            Divisor of the logits; 0 takes the likeliest token each time. None takes the file's, else 1; it is 1, too,
            if the file has 0 and `top_k` or `top_p` is given.
        top_k : int, optional
            Sample from this many of the likeliest tokens; the vocabulary size or more samples from all. None
            takes the file's, else all.
        top_p : float, optional
            Sample from the likeliest tokens that together have this probability (nucleus sampling). None takes the
            file's, else 1.
        repetition_penalty : float, optional
            Above 1, tokens that are already in the prompt or text become less likely (Keskar et al. 2019). None takes
            the file's, else 1.
        stop : str or sequence of str, optional
            Strings that end a text; they are not part of the result. None takes the file's ``stop_strings``.
        random_state : int, RandomState or None
            Seed of the sampling.
        stream : callable, optional
            Called with the text while it is generated, piece by piece: ``stream(piece)`` for one prompt,
            ``stream(index, piece)`` for several.

        Returns
        -------
        str or list of str
            The continuation of each prompt.

        Raises
        ------
        ValueError
            The model is not causal; a prompt is longer than the model supports; a parameter is out of range.
        DataError
            ``generation_config.json`` cannot be read.

        Warns
        -----
        UserWarning
            The file has settings that change texts and are not implemented, as ``num_beams``; they are named.

        Examples
        --------
        >>> import warmstart as ws
        >>> small = ws.Backbone.from_config("gpt2", backbone.tokenizer, n_embd=24, n_layer=1, n_head=3)
        >>> isinstance(ws.LanguageModel(small).generate("a text", max_new_tokens=3), str)
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


def refuse_labels(y: Any) -> None:
    """Refuse labels; scikit-learn's searches and pipelines pass None."""
    if y is not None:
        raise TypeError(
            f"y is {type(y).__name__}, and a language model learns from texts alone; texts to evaluate on are given by "
            "name, as in fit(X, eval_set=...)"
        )
