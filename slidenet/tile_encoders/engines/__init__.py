"""Engines: what runs the module of a tile encoder."""

from slidenet.tile_encoders.engines.protocol import Engine, EngineName

__all__ = ["Engine", "EngineName"]
