"""How well the estimates of the accuracy in production keep what they promise, on real tweets."""
