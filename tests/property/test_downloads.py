"""However often a reading is cut and its source changed: one version of it, to the byte, or an error."""

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.artifacts import parts as keeping
from agentd.artifacts.cache import Cache
from agentd.artifacts.download import Downloader, Wanted
from agentd.artifacts.parts import Parts, key_of
from agentd.artifacts.rate import Rate
from tests.conftest import SOAK
from tests.downloading import Memory
from transfer.errors import Kind, TransferError
from transfer.urls import parse

pytestmark = pytest.mark.property
SIZE = 4000
VERSIONS = [bytes((n * 37 + at // 100) % 256 for at in range(SIZE - 10 * (n % 3))) for n in range(8)]
STEPS = st.lists(
    st.fixed_dictionaries(
        {
            "breaks_at": st.none() | st.integers(0, SIZE),
            "changes": st.dictionaries(st.integers(0, SIZE), st.sampled_from(VERSIONS), max_size=2),
            "between": st.none() | st.sampled_from(VERSIONS),
            "told": st.booleans(),
            "torn": st.none() | st.integers(0, SIZE),
        }
    ),
    max_size=8,
)


@given(
    steps=STEPS, pinned=st.booleans(), piece=st.integers(1, 3000), known=st.booleans(), stamped=st.booleans()
)
@settings(max_examples=2000 if SOAK else 80, deadline=None)
def test_cuts_and_changes_never_mix_two_versions(steps, pinned, piece, known, stamped):
    with tempfile.TemporaryDirectory(prefix="muster-parts-") as home, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "WORTH_A_NOTE", 0)
        cache = Cache(Path(home), 1 << 30)
        source = Memory(VERSIONS[0], "1" if stamped else "")
        source.piece = piece
        if not stamped:
            source.change = lambda _: None  # a source that does not tell of changes cannot be held to them
        digest = hashlib.sha256(VERSIONS[0]).hexdigest() if pinned else None
        for number, step in enumerate([*steps, None]):
            if step:
                source.breaks_at, source.changes = step["breaks_at"], dict(step["changes"])
                if step["between"] is not None:
                    source.change(step["between"])
                source.size = len(source.data) if step["told"] else None
                if step["torn"] is not None:
                    _power_cut(Path(home), step["torn"], patch, number)
            else:
                source.breaks_at, source.changes, source.size = None, {}, len(source.data)
            wanted = Wanted(
                source=parse("http://h/a"), key=key_of("a"), sha256=digest,
                known=(hashlib.sha256(source.data).hexdigest(), source.version) if known else None,
            )  # fmt: skip
            try:
                got = Downloader(cache, Parts(cache.parts), Rate(None)).get(source, wanted)
            except TransferError as error:
                assert error.kind in (Kind.UNREACHABLE, Kind.CHANGED, Kind.MISMATCH)
                assert step is not None or (error.kind is Kind.MISMATCH and source.data != VERSIONS[0])
                continue
            data = cache.path(got.sha256).read_bytes()
            assert hashlib.sha256(data).hexdigest() == got.sha256
            assert data == (VERSIONS[0] if pinned else source.data)
            assert not list(cache.parts.iterdir())
            cache.path(got.sha256).unlink()


def _power_cut(home, at, patch, number):
    """Bytes of a part from `at` on were never written to the disk, and the machine boots."""
    patch.setattr(keeping, "boot_id", lambda: f"boot {number}")
    for part in (home / "parts").glob("*.part"):
        data = part.read_bytes()
        part.write_bytes(data[:at] + bytes(max(0, len(data) - at)))
