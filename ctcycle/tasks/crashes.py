"""What a fault of the program leaves for whoever looks for it."""

import traceback
from collections.abc import Iterator


def describe_crash(error: BaseException) -> str:
    """The traceback of ``error`` and of what led to it, the cause first.

    The messages of pydicom's errors are left out: they quote the header, which may identify a patient.
    """
    parts = []
    for one in reversed(list(_chain(error))):
        frames = traceback.extract_tb(one.__traceback__)
        quotes = any("pydicom" in frame.filename for frame in frames)
        message = "(message left out, it may quote a header)" if quotes else str(one)
        listed = "".join(traceback.format_list(frames))
        parts.append(f"Traceback (most recent call last):\n{listed}{type(one).__name__}: {message}\n")
    return "\nwhich led to:\n\n".join(parts)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
