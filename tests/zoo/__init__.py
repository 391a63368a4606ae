"""Whole networks on every backend: torchvision, timm and transformers.

``python -m tests.zoo`` prints the table; ``python -m tests.zoo --help`` says what can be chosen.
"""
