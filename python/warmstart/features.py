"""`FeatureExtractor`: a frozen backbone as a scikit-learn transformer, from texts to vectors."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from warmstart.backbone import Backbone
from warmstart.keywords import naming_what_was_meant
from warmstart.opening import opened
from warmstart.options import EMBED_BATCH_TOKENS, INFERENCE_PRECISIONS, check_compute
from warmstart.texts import Texts, are_pairs, refuse_labels_beside, to_list


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn texts into fixed vectors for an SVM, a random forest or any other estimator.

    Parameters
    ----------
    backbone : Backbone, str or path
        The pretrained model. A path, or the name of a repository of the Hugging Face hub, is opened when it is first
        needed, by each clone for itself; a `Backbone` is shared by all of them.
    layers : int or list of int
        Hidden states to use: 0 is the embedding output, -1 the last layer. Several are concatenated.
    pooling : {"auto", "mean", "cls", "last", "max", "mean_sqrt_len", "weighted_mean"} or a list of them
        Pooling of token vectors into one text vector; several are concatenated. "auto" follows the model directory: of
        a sentence-transformers directory the last layer then gives the vectors of ``SentenceTransformer.encode``.
    normalize : bool, optional
        Divide each row by its length; None follows the model directory where ``layers=-1`` and ``pooling="auto"``.
    max_length : int, optional
        Maximum length in tokens; longer texts are truncated. None takes the backbone's ``max_length``.
    batch_tokens : int
        Tokens per batch.
    precision : {"auto", "f32", "bf16", "int8"}
        Number format of matrix products; "auto" is bf16 where the processor has instructions for it, else f32. int8
        rounds the weights once and the activations as they come.
    device : {"auto", "cpu"}
        Device to compute on.
    verbose : bool
        Show a progress bar in a notebook or terminal.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> model = make_pipeline(FeatureExtractor(backbone, layers=-2), SVC())
    >>> predicted = model.fit(texts, labels).predict(new_texts)
    """

    _opened: tuple[Any, Backbone] | None = None
    """The value of `backbone` when it was opened, and the opened model."""

    @naming_what_was_meant()
    def __init__(
        self,
        backbone: Backbone | str | os.PathLike[str],
        *,
        layers: int | Sequence[int] = -1,
        pooling: str | Sequence[str] = "auto",
        normalize: bool | None = None,
        max_length: int | None = None,
        batch_tokens: int = EMBED_BATCH_TOKENS,
        precision: str = "auto",
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.layers = layers
        self.pooling = pooling
        self.normalize = normalize
        self.max_length = max_length
        self.batch_tokens = batch_tokens
        self.precision = precision
        self.device = device
        self.verbose = verbose

    @naming_what_was_meant()
    def fit(self, X: Texts, y: Any = None) -> "FeatureExtractor":
        """Learn nothing: `transform` works without.

        Raises
        ------
        ValueError
            A column of `X` is `y`.
        """
        if y is not None and are_pairs(X, "X"):
            refuse_labels_beside(X, to_list(y, "y"), "X")
        return self

    def transform(self, X: Texts) -> NDArray[np.float32]:
        """Turn texts into vectors.

        Parameters
        ----------
        X : sequence of str or of pairs of str
            N texts, in any container; named as scikit-learn names it.

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

        Warns
        -----
        UserWarning
            Texts were truncated, or are mostly words that the vocabulary lacks; their number is told.
        """
        check_compute(self.precision, self.device, INFERENCE_PRECISIONS)
        return self._backbone().embed(
            X,
            layers=self.layers,
            pooling=self.pooling,
            max_length=self.max_length,
            normalize=self.normalize,
            batch_tokens=self.batch_tokens,
            precision=self.precision,
            verbose=self.verbose,
        )

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the columns: ``layer6_mean_0``, ``layer6_mean_1`` and so on; `input_features` is not used.

        Columns from dense layers of a sentence-transformers directory are ``sentence_0`` and so on.
        """
        backbone = self._backbone()
        vectors = backbone.resolve_vectors(self.layers, self.pooling)
        size, n = backbone._inner.vector_size(vectors.layers, vectors.pooling), backbone.hidden_size
        layers = [backbone.n_layers] if vectors.layers is None else vectors.layers
        names = [f"layer{layer}_{how}_{i}" for layer in layers for how in vectors.pooling for i in range(n)]
        if vectors.layers is None and backbone._inner.has_dense:
            names = [f"sentence_{i}" for i in range(size)]
        return np.array(names, dtype=object)

    def _backbone(self) -> Backbone:
        if self._opened is None or self._opened[0] is not self.backbone:
            self._opened = (self.backbone, opened(self.backbone, self.verbose))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        # A backbone given by path is opened again after unpickling.
        return {name: value for name, value in super().__getstate__().items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Estimators pickled before `normalize` existed lack it.
        super().__setstate__({"normalize": None} | state)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags
