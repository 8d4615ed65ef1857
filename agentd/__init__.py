"""The agent of a node: a brain that may come and go, and a keeper that is parent of every task."""
