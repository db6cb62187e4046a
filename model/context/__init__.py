"""What a symbol's probability is predicted from: the walk over the passes, the float model and the integer one."""
