#!/bin/sh
# Of files.yaml: says where it lies, and what came with it.
. "./$1"
echo "$GREETING, which runs $PRETTY_NAME; all of this lies in $MUSTER_TASK_DIR"
