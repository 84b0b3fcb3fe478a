"""The benchmark that ``fusedstep bench`` runs: code that times libraries in turn, and the suites of cases.

A case is one task with one size of data, and a suite is a group of cases. The names in the code mean:

- ours: fusedstep
- peer: an implementation that is timed, from fusedstep or from another library
- line: the results of one implementation in one case, which are one line of the printed table
- yardstick: simple code that does comparable work. Our time is divided by the time of the yardstick.
- target: a ratio of times that fusedstep should reach
"""
