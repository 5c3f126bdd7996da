"""The contracts as collectable tests; see :mod:`flue_sqla.testing.plugin` for how to run them."""
