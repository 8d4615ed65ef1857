"""Muster's client: HTTP only; nothing of server or agent is imported here."""
