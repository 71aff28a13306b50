"""How a run over a cohort tells how far it is: to people at a terminal, to logs, to machines."""
