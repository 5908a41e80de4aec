"""How weights change: the gradient step, optimisers, learning-rate schedules."""
