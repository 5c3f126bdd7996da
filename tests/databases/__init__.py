"""Database servers and object stores that the tests start for themselves.

What a test sees is one object, :class:`tests.databases.contract.Database`; how a server starts is in one file per server.
"""
