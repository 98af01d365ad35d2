"""What goes wrong for a user, said in one sentence: what was expected, what came, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class StriateError(Exception):
    """Something could not be done; the message is one sentence for the user (exit code 1 on the command line)."""

    told = False  # whether another process of the same training says it


class InputError(StriateError, ValueError):
    """What the user gave is wrong: an argument, a shape, a file, a name (exit code 2 on the command line)."""


class Diverged(StriateError):
    """A training whose loss is no number any more, or has grown beyond return."""


class Interrupted(StriateError):
    """The user stopped a run; everything up to the last step is in its checkpoint (exit code 130)."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the name closest to `word`, else the list of all known names."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
