"""Instance masks of people from their boxes."""
