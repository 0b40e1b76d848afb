"""What a call is going to take: the cost of each job from its settings, then time and memory on this machine."""
