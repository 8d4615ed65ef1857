"""The store on Redis: the only package that knows redis."""
