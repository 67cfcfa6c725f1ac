"""Trogdor: fault injection for distributed systems."""

__version__ = "0.1.0"
