"""Devices, groups and who belongs where: what the API and the leader do to them in the store."""
