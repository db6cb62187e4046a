"""The temporary folder, where the parser of forms keeps what it has of an upload: whether there is room."""

import os
import tempfile


def reserve_upload_space(size: int) -> None:
    """Make a temporary file of so many bytes and remove it; raises OSError where that cannot be done."""
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, size)
