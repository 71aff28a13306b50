"""What a run reports beside its metrics: its cohort, epochs kept, rivals, ablations."""
