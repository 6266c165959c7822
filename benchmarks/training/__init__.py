"""What training costs: time, memory, and the flow around it."""
