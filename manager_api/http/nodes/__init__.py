"""Nodes: joined, listed, cordoned, drained, removed; the brake."""
