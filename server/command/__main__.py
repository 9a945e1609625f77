"""Lets `python -m server.command` do what `eligibility` does."""

from server.command import main

main()
