"""Which reader reads a source. Each is loaded when it is needed: SSH alone takes most of a second."""

from transfer.errors import Kind, TransferError
from transfer.login import Login
from transfer.reader import Reader
from transfer.urls import Source


def open_reader(source: Source, login: Login) -> Reader:
    """A connection to the server of a source, or to this machine's files.

    Raises:
        TransferError: as its kinds say.
    """
    if source.scheme == "sftp":
        from transfer.sftp import SftpReader

        return SftpReader(source, login)
    if source.scheme == "file":
        from transfer.local import LocalReader

        return LocalReader()
    if source.scheme in ("http", "https"):
        from transfer.http import HttpReader

        return HttpReader(source, login)
    raise TransferError(Kind.UNSUPPORTED, f"{source.scheme}:// cannot be read yet")
