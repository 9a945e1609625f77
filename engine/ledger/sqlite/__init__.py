"""The decision log in one SQLite file, its keys in another; the only door to apsw."""
