"""What comes after a model serves: watch it, decide, train a challenger, and play all of that in a simulation."""
