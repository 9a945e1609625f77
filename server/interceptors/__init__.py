"""What stands around every call: logs, metrics, errors, callers."""
