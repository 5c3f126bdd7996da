"""``python -m flue_sqla.cli`` is the ``flue-sqla`` command."""

from flue_sqla.cli import command

command()
