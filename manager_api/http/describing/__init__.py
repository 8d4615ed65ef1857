"""The API's own description, and the pages that show it."""
