"""PyTorch's own operator database, run through every backend.

``python -m tests.conformance`` prints the table; ``python -m tests.conformance --help`` says what can be chosen.
"""
