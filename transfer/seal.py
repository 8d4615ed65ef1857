"""Texts that only the holder of a private key can read: passwords on their way through the store.

X25519 sealed boxes: the sender has no key of its own, and cannot read what it has sealed.
"""

from base64 import b64decode, b64encode
from binascii import Error

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox


def new() -> tuple[PrivateKey, str]:
    """A private key, which stays in this process, and the public one as base64, for everybody."""
    private = PrivateKey.generate()
    return private, b64encode(bytes(private.public_key)).decode()


def seal(text: str, public: str) -> str:
    """A text, sealed to a public key, as base64.

    Raises:
        ValueError: that is no public key.
    """
    try:
        box = SealedBox(PublicKey(b64decode(public, validate=True)))
        return b64encode(box.encrypt(text.encode())).decode()
    except (CryptoError, Error, RuntimeError, TypeError, ValueError):
        raise ValueError("not a public key to seal to") from None


def unseal(sealed: str, private: PrivateKey) -> str:
    """What was sealed to the public key of `private`.

    Raises:
        ValueError: it was sealed to another key, or damaged.
    """
    try:
        return SealedBox(private).decrypt(b64decode(sealed, validate=True)).decode()
    except (CryptoError, Error, TypeError, ValueError):
        raise ValueError("what was sealed cannot be opened with this key") from None
