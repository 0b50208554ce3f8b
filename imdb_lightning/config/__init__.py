"""Typed settings with their ranges, and what a mistake looks like."""
