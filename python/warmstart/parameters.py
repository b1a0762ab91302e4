"""`Parameters`: plain data with scikit-learn's parameter protocol, the base of strategies and optimisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from warmstart.keywords import hint

if TYPE_CHECKING:
    from typing_extensions import Self


class Parameters:
    """A dataclass that can be cloned and nested in an estimator, and whose repr shows the changed parameters.

    Values are stored as given, and checked when a run or a plan is made.
    """

    elsewhere: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Other places where arguments can be given, for `hint`."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn asks for them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Raises
        ------
        ValueError
            There is no such parameter.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}{hint(name, list(known), self.elsewhere)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return shown(self, type(self)().get_params())


def shown(of: Any, defaults: Mapping[str, Any]) -> str:
    """Format an object as a constructor call, with the parameters that differ from their defaults."""
    changed = [
        f"{name}={value!r}"
        for name, value in of.get_params(deep=False).items()
        if name not in defaults or repr(value) != repr(defaults[name])
    ]
    return f"{type(of).__name__}({', '.join(changed)})"
