"""What an output folder was begun with and goes on with: reading of tiles, engine."""
