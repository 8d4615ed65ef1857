"""What tests of transfers share: who we are at a test's server, what is read, what is raised."""

import pytest

from transfer.errors import TransferError
from transfer.login import Login


def login_at(sshd, **how):
    """By key, which works whoever runs the server, and by its pinned key."""
    return Login(**{"key_file": sshd.key_file, "fingerprints": (sshd.fingerprint,), **how})


def whole(reader, path, offset=0):
    """All that is read of a path, from an offset."""
    stat = reader.stat(str(path))
    return b"".join(reader.read(str(path), offset, stat))


def failing(kind, call, *words):
    """The text of the error that `call` raises, of this kind, with these words."""
    with pytest.raises(TransferError) as caught:
        call()
    assert caught.value.kind is kind, caught.value
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)
