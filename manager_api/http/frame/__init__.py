"""What every call has: bodies, errors, pages, tags, ids, answers."""
