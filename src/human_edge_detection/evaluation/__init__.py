"""How good the masks are: metrics, intervals, report."""
