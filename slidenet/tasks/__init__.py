"""Floor 2: what a slide classifier predicts, and all that depends on the kind of task."""
