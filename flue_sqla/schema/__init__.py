"""What is this database, may this release run on it, and how does it become current.

``verdict`` judges, ``boot`` acts on the verdict, ``migrate`` runs the revisions under the lock, ``hooks`` keep our tables out of a
host's autogenerate, ``grants`` names the least rights. Alembic is only imported where revisions run.
"""
