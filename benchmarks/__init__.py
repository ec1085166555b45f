"""Speed and memory, each module one table, peers in the same run. ``python -m benchmarks [NAME ...]`` runs them."""
