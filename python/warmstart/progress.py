"""Progress bars: the notebook's own, a terminal's, and none where nobody watches."""

from collections.abc import Callable
from types import TracebackType
from typing import Any


class TokenBar:
    """A bar that counts tokens, with their rate and the time left.

    Parameters
    ----------
    total_tokens : int or None
        Total number of tokens; None if unknown.
    description : str
        Shown before the bar.
    verbose : bool
        False shows nothing. True shows a bar in a notebook and in a terminal, and nothing where the error stream is a
        file or a pipe.
    delay_s : float
        Show the bar only after this many seconds.
    unit : str
        Unit that is counted, if not tokens.
    already_done : int
        Tokens that an earlier run processed; they count in the bar, but not in its rate.
    """

    def __init__(
        self,
        total_tokens: int | None,
        description: str,
        verbose: bool,
        delay_s: float = 0.0,
        unit: str = "tok",
        already_done: int = 0,
    ) -> None:
        self._bar: Any = None
        if not verbose:
            return
        from tqdm.asyncio import tqdm_asyncio
        from tqdm.auto import tqdm

        in_notebook = tqdm is not tqdm_asyncio
        self._bar = tqdm(
            total=total_tokens,
            initial=already_done,
            desc=description,
            unit=unit,
            unit_scale=True,
            dynamic_ncols=not in_notebook,
            disable=False if in_notebook else None,
            delay=delay_s,
        )

    def move_to(self, tokens: int, **shown: str) -> None:
        """Set the number of tokens done and the text behind the bar."""
        if self._bar is None or self._bar.disable:
            return
        if shown:
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(tokens - self._bar.n)

    def describe(self, description: str) -> None:
        """Replace the text before the bar."""
        if self._bar is not None and not self._bar.disable:
            self._bar.set_description(description)

    @property
    def callback(self) -> Callable[[int], None] | None:
        """Callback for the core; None if there is no bar."""
        return None if self._bar is None or self._bar.disable else self.move_to

    def close(self) -> None:
        """Close the bar and leave it on screen."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "TokenBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._bar is not None and not self._bar.disable and self._bar.total is not None:
            self.move_to(self._bar.total)  # the core reports ten times a second, so perhaps not the last batch
        self.close()
