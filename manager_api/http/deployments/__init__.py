"""Deployments: asked for, looked at, changed, stopped; and work that none wants."""
