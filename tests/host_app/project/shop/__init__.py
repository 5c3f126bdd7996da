"""A small shop: the application in whose database flue_sqla lives."""
