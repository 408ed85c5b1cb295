"""Annotated photos in, training samples out."""
