"""Devices, groups, memberships over HTTP."""
