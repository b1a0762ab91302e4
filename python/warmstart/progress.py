"""Progress bars: the notebook's own, a terminal's, and none where nobody watches."""

from collections.abc import Callable
from types import TracebackType
from typing import Any


class TokenBar:
    """A bar that counts tokens, with their rate and the time left.

    Parameters
    ----------
    total_tokens : int or None
        Tokens to work through; None where nobody knows.
    description : str
        Shown before the bar.
    verbose : bool
        False shows nothing. True shows a bar in a notebook and in a terminal, and nothing where the error stream is a
        file or a pipe.
    delay_s : float
        Show the bar only after this many seconds.
    unit : str
        What is counted, if not tokens.
    already_done : int
        Of the total, by an earlier run: it counts in the bar, not in its rate.
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
        """Set the number of tokens done and what is shown behind the bar."""
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
        """What to hand to the core; None where there is nothing to move."""
        return None if self._bar is None or self._bar.disable else self.move_to

    def close(self) -> None:
        """Leave the bar as it stands."""
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
