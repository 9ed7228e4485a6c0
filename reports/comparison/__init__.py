"""Two runs side by side: what is faster, slower, better or worse in the second, and what cannot be told."""
