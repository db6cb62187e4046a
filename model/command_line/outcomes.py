"""How a command ends: its exit status, and what there is to say."""

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from model.command_line.files import UsageError
from model.errors import (
    CheckpointError,
    DeviceError,
    InputError,
    LimitError,
    ParameterError,
    TruncatedFileError,
)


class Outcome(NamedTuple):
    """How a command ended, for one file or for many.

    Attributes:
        status: the exit status.
        text: a summary, or why it failed; may be empty.
        notes: what was changed on the way, as `model.images.files.Picture` has them.
    """

    status: int = 0
    text: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For people, on one line; empty where there is nothing to say."""
        return " ".join(", ".join(filter(None, [self.text, *self.notes])).split())


def attempt(work: Callable[[], Outcome]) -> Outcome:
    """What work comes to, whatever it raises on purpose."""
    try:
        return work()
    except (UsageError, ParameterError, DeviceError) as exc:
        return Outcome(2, f"{exc}")
    except LimitError as exc:
        return Outcome(1, f"{exc}" + ("; --max-pixels raises it" if exc.name == "max_pixels" else ""))
    except TruncatedFileError as exc:
        return Outcome(1, f"{exc}".replace("; allow_truncated ", "; --allow-truncated "))
    except InputError as exc:
        return Outcome(1, f"{exc}")
    except CheckpointError as exc:
        return Outcome(3, f"{exc}")
    except BrokenPipeError:
        # The reader has gone, which is its right. Python would complain once more when it flushes at exit.
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Outcome(1)
    except OSError as exc:
        return Outcome(1, f"{exc.filename}: {exc.strerror}" if exc.filename and exc.strerror else f"{exc}")
    except (MemoryError, RuntimeError) as exc:
        return Outcome(1, _memory_ran_out(exc))


def _memory_ran_out(error: Exception) -> str:
    """What to say of it; raises what is something else, as torch has no error of its own for this."""
    if isinstance(error, RuntimeError) and not re.search("(allocate|out of) memory", f"{error}"):
        raise error
    return "not enough memory for a picture of this size"
