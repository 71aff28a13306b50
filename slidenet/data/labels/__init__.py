"""Labels: the table, its cells, the task they pose, targets."""
