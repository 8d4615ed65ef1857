"""The client that does not block, with all its methods."""

from muster.client.async_operations import AsyncOperations
from muster.client.nonblocking import AsyncPlain


class AsyncClient(AsyncPlain, AsyncOperations):
    """One manager, asked by calls that are awaited, on one event loop; otherwise as `Client`."""
