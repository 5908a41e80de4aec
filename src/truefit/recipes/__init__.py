"""Recipes by name. To add one: a file here that sets `RECIPE`; nothing else changes."""
