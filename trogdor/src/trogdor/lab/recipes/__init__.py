"""Recipes of real clusters on a lab's nodes, one module each."""
