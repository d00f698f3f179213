"""Tokenizers, one file each: they turn text into ids and back."""
