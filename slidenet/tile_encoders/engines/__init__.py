"""Engines: what runs the module of a tile encoder."""

from slidenet.tile_encoders.engines.protocol import AskedEngine, Engine, EngineName

__all__ = ["AskedEngine", "Engine", "EngineName"]
