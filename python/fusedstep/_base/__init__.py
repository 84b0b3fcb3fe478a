"""What every part of the package may use: checks, arrays, memory, files, threads, optional packages."""
