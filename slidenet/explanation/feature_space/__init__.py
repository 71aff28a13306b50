"""How the tile features of a cohort lie: directions, clusters, maps of them, nearest ones."""
