#!/bin/sh
# Packs a release, so that the tests can meet it again: `tests/releases/build.sh v0.2.0`.
#
# The programs only, as their source lies in a tag (or commit); they run beside ours with our dependencies.
# The file is named after what the release calls itself.
set -eu
tag=${1:?which tag or commit?}
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
version=$(git show "$tag:store/version.py" | sed -n 's/^VERSION = "\(.*\)"$/\1/p')
git archive --format=tar "$tag" agentd manager_api muster ops/gunicorn.conf.py store | gzip -9n > "$here/$version.tar.gz"
echo "tests/releases/$version.tar.gz"
