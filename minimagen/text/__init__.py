"""Captions to token vectors: T5 encoders, the built-in tiny one, and embedding files."""
