"""A trained network out of its folder."""
