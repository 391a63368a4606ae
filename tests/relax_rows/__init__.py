"""The rows of the Relax primitive tests, one module per family."""
