"""The benchmark, which ``fusedstep bench`` runs: how libraries are timed side by side, and the suites of cases."""
