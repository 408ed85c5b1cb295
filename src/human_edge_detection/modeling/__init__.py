"""The networks and their losses, in torch."""
