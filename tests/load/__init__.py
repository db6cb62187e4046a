"""The service under load, as real processes: `python -m tests.load --help`. Its pure parts have unit tests."""
