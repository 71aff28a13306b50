"""Dilated attention (LongNet): configuration, passes, reference and the published steps."""
