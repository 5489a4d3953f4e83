"""The made-up past, the lake that is made of it, and how its figures are written down."""
