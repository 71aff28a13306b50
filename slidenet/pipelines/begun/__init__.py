"""What an output folder, or features, were begun with: reading of tiles, engine, all settings."""
