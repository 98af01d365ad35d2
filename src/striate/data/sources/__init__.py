"""Where data comes from: each module turns one kind of source into splits."""
