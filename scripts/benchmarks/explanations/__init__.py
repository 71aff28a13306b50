"""What bench_explanations.py is made of: cohorts and trainings, maps and their truth, tables."""
