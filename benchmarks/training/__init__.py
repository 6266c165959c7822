"""The cost of training: time, memory, and the overhead of the flow."""
