"""Running trials: the child's side, the parent's grip on a child, and the loop over a plan."""
