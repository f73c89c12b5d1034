"""Options of a command from the fields of a dataclass."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_type_hints

import typer
from rich.markup import escape

from ._errors import UnusableError, one_of

# The least number that counts as positive.
POSITIVE = 1e-30
_LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Told:
    """What a field says of itself beside its name, type and default.

    - `help`: a sentence without its full stop; choices and the default are added.
    - `default`: the default in words, where the field's own does not say it.
    - `least`: the least number allowed.
    - `choices`: the only words allowed.
    - `spelt`: makes one spelling of all that mean the same.
    - `may_change`: whether a run goes on with another value.
    - `flag`: the option where it takes no value, such as `--json`.
    """

    help: str
    default: str = ""
    least: float | int | None = None
    choices: tuple[str, ...] = ()
    spelt: Callable[[Any], Any] = lambda value: value
    may_change: bool = False
    flag: str | None = None

    def check(self, name: str, value: Any) -> None:
        """Raises where the field cannot have this value."""
        if value is None:
            return
        if self.choices:
            one_of(option(name), value, self.choices)
        if self.least is None:
            return
        if isinstance(value, int) and value > _LARGEST:
            raise UnusableError(f"{option(name)} must be at most {_LARGEST:,}, got {value:,}.")
        # Written so that NaN does not pass.
        if not self.least <= value < float("inf"):
            positive = self.least == POSITIVE
            words = "positive and finite" if positive else f"at least {self.least}"
            raise UnusableError(f"{option(name)} must be {words}, got {value}.")

    def text(self, default: Any) -> str:
        """What `--help` shows."""
        choices = f": {', '.join(self.choices)}" if self.choices else ""
        number = f"{default:g}" if isinstance(default, float) else str(default)
        words = self.default or ("" if default is None or default is False else number)
        return f"{self.help}{choices}." + (f" [default: {words}]" if words else "")


def option(name: str) -> str:
    """The option that sets a field.

    >>> option("save_every")
    '--save-every'
    """
    return "DATASET" if name == "dataset" else "--" + name.replace("_", "-")


def told(kind: type) -> dict[str, Told]:
    """What each field of a dataclass says of itself."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: get_args(hints[field.name])[1] for field in dataclasses.fields(kind)}


def takes(*kinds: type) -> Callable[[Callable], Callable]:
    """A command with an option for each field of some dataclasses.

    It is called with a dict for each dataclass, of what was given: what was not, `--resume`
    may know better than the default.
    """

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def called(**values: Any) -> Any:
            given = {name: value for name, value in values.items() if value is not None}
            return command(*({n: given[n] for n in told(k) if n in given} for k in kinds))

        parameters = [parameter for kind in kinds for parameter in _parameters(kind)]
        vars(called)["__signature__"] = inspect.Signature(parameters)
        return called

    return decorate


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    """An option a field, or an argument where it has no default."""
    types, texts = get_type_hints(kind), told(kind)
    for field in dataclasses.fields(kind):
        name, said = field.name, texts[field.name]
        needed = field.default is dataclasses.MISSING
        shown: Any = {
            "help": escape(said.text(None if needed else field.default)),
            "show_default": False,
        }
        names = [] if said.flag is None else [said.flag]
        made = typer.Argument(**shown) if needed else typer.Option(*names, **shown)
        annotation = Annotated[types[name] | None, made]
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
        )
