"""Looking after what the flows keep: consistency checks, retention, and reproducing past runs."""
