"""How fast models are served over HTTP."""
