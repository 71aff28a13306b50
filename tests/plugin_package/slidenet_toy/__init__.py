"""Plug-ins for slidenet, one of each kind and as small as each can be."""
