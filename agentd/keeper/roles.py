"""Who is guard and who is keeper: each takes the other's place when it is gone."""

import json
import os
import socket
import sys

from agentd.keeper.child import become_subreaper, give_up_new_privileges, protect
from agentd.keeper.guard import Guard, Line
from agentd.keeper.post import Post
from agentd.keeper.server import Keeper


def main(argv: list[str]) -> int:
    """Serve a directory (`argv[0]`) unless another keeper does; `argv[1]` is what an upgrade handed on."""
    if argv == ["--check"]:
        return 0
    handed = json.loads(argv[1]) if len(argv) > 1 else None
    if handed is None:
        os.closerange(3, 256)
        post = Post.take(argv[0])
    else:
        post = Post.resume(argv[0], handed)
    if post is None:
        sys.stderr.write("another keeper serves this directory\n")
        return 1
    give_up_new_privileges()
    become_subreaper()
    protect()
    return _alternate(post, handed)


def _alternate(post: Post, handed: dict[str, int | str] | None) -> int:
    """Guard a keeper, or be one; a keeper whose guard is gone becomes the guard of the next."""
    line: Line | None = None
    if handed is not None:
        sock = socket.socket(fileno=int(handed["line"]))
        line = (
            Line(sock, waits=True)
            if handed["role"] == "keeper"
            else Guard(post).watch(int(handed["keeper"]), sock)
        )
    ending = False
    while True:
        if line is None:
            line = Guard(post, ending=ending).watch()
            become_subreaper()  # a fork does not inherit it
        keeper = Keeper(post, line)
        if keeper.serve():
            return 0
        line, ending = None, keeper.ending
