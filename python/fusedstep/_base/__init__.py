"""Helpers for the whole package: checks, arrays, memory, files, threads, optional packages."""
