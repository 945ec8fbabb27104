"""How the tables came to be what they are, a step a file: Alembic's migrations.

A step only adds: a process of the version before goes on beside one of the next.
"""
