"""PyTorch's own operator database, run through every backend.

``python -m tests.conformance`` prints the tables; ``--help`` says what can be chosen.
"""
