"""What a layer is asked, how, and what it answers."""
