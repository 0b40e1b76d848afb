"""What a call will take: the cost of each job from its settings, then time and memory on this machine."""
