"""The decision log in PostgreSQL, for several servers that append to one log; the only door to psycopg."""
