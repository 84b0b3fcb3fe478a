"""Helpers of all parts of the package: checks, arrays, memory, files, threads, optional packages."""
