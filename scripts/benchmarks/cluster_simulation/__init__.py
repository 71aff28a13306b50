"""Many machines and many slides as events in time, for simulate_cluster.py."""
