"""Relax operators whose own legalisation is slow or inexact, as tensor expressions."""

from __future__ import annotations

from typing import Any

LEGALIZE: dict[str, Any] = {}
