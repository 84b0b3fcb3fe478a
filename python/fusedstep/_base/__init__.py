"""What all parts of the package use: checks, arrays, memory, files, threads, optional packages."""
