"""Sealed texts: who may read them, and what is said of those that cannot be."""

import base64

import pytest

from transfer import seal

pytestmark = pytest.mark.unit


def test_the_holder_of_the_private_key_reads_what_was_sealed():
    private, public = seal.new()
    for text in ("", "hunter2", "pässwörd ☃", "x" * 20_000):
        sealed = seal.seal(text, public)
        assert seal.unseal(sealed, private) == text
        assert len(base64.b64decode(public)) == 32
    assert "hunter2" not in sealed


def test_the_same_text_is_never_sealed_the_same_way():
    _, public = seal.new()
    assert seal.seal("hunter2", public) != seal.seal("hunter2", public)


def test_nobody_else_can_read_it():
    _, public = seal.new()
    other, _ = seal.new()
    with pytest.raises(ValueError, match="cannot be opened"):
        seal.unseal(seal.seal("hunter2", public), other)


@pytest.mark.parametrize("wrong", ["", "!", "AAAA", "ü", "A" * 44])
def test_what_is_damaged_is_refused(wrong):
    private, public = seal.new()
    whole = seal.seal("hunter2", public)
    for sealed in (wrong, whole[:-8], whole[4:], "AAAA" + whole[4:]):
        with pytest.raises(ValueError, match="cannot be opened"):
            seal.unseal(sealed, private)


@pytest.mark.parametrize("wrong", ["", "!", "AAAA", "ü", base64.b64encode(bytes(32)).decode()])
def test_what_is_no_public_key_is_not_sealed_to(wrong):
    with pytest.raises(ValueError, match="not a public key"):
        seal.seal("hunter2", wrong)
