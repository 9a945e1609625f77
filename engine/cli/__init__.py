"""The `eligibility` command, one module per command that needs no wire."""
