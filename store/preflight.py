"""Looks a server over, at start and for `muster doctor`; and what a manager does about it."""

import logging
from collections.abc import Callable, Iterable

from store.errors import Denied, StoreError, Unavailable, Unsupported
from store.keys import NODES, Keys
from store.kv.connection import Client, translated
from store.kv.facts import gather
from store.model.finding import Finding, Severity
from store.model.preflight import judge
from store.model.server import ServerFacts, Use

log = logging.getLogger("store")


def preflight(
    client: Client, wall: Callable[[], float], *, sentinel: bool = False, embedded: bool = False
) -> tuple[list[Finding], ServerFacts | None]:
    """What there is to say of a server, and what it said itself, unless it lets us ask nothing.

    `sentinel`: whether it was found by asking Sentinel; `embedded`: whether it is a manager's own.

    Raises:
        Unavailable: it does not answer; or Sentinel named a server that is not promoted yet.
    """
    keys = Keys()
    try:
        facts = gather(client, keys, wall)
    except Denied as error:
        return [refused(error)], None
    if sentinel and facts.info.get("role") == "slave":
        raise Unavailable("the server that Sentinel names is still a replica: a fail-over is under way")
    nodes = _known_nodes(client, keys)
    return judge(facts, Use(sentinel=sentinel, embedded=embedded, nodes=nodes)), facts


def refused(error: Denied) -> Finding:
    """The finding about a server that lets us do nothing."""
    if str(error).startswith("NOPERM") or "no permissions" in str(error):
        cure = "redis-cli ACL SETUSER USER '~muster:*' '&muster:*' +@all -@dangerous +info +acl"
        return Finding("rights", Severity.REFUSE, f"our user may not run INFO: {error}", cure)
    cure = "give the right ones: --store redis://USER:PASSWORD@HOST, special characters percent-encoded"
    return Finding(
        "rights", Severity.REFUSE, f"the store refuses our user or password: {str(error).rstrip('.')}", cure
    )


def insist(findings: Iterable[Finding]) -> None:
    """Go no further when something is refused.

    Raises:
        Unsupported: something is; every refusal stands in the message, with its cure.
    """
    refusals = [str(each) for each in findings if each.severity is Severity.REFUSE]
    if refusals:
        raise Unsupported("the store is not safe to use. " + " -- ".join(refusals))


def tell(findings: Iterable[Finding]) -> None:
    """Log what was found: what is well in one line, all else in lines of their own."""
    found = list(findings)
    log.info("store: %s", "; ".join(each.text for each in found if each.severity is Severity.OK))
    for finding in found:
        if finding.severity is not Severity.OK:
            log.warning("%s", finding)


def _known_nodes(client: Client, keys: Keys) -> int:
    try:
        with translated():
            return int(client.hlen(keys.collection(NODES)))
    except Unavailable:
        raise
    except StoreError:  # a finding of its own: a cluster, a Sentinel, a user without rights
        return 0
