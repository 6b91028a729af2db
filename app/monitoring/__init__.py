"""Tools that look at what was logged: a dashboard in W&B, and reports about stored inferences. Not part of serving."""
