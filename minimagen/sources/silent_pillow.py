"""What Pillow warns of, silenced while pictures are read: odd metadata, which is dropped, and sizes, which are checked.

Python keeps one list of filters for all threads: the first to read pictures silences it, and the last one undoes that.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_LOCK = threading.Lock()
_SILENCE = ExitStack()
_readers: set[object] = set()


@contextmanager
def silent_pillow() -> Iterator[None]:
    """Silences Pillow's warnings while the block runs, in every thread."""
    reader = object()
    with _LOCK:
        if not _readers:
            _SILENCE.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _readers.add(reader)
    try:
        yield
    finally:
        with _LOCK:
            _readers.remove(reader)
            if not _readers:
                _SILENCE.close()
