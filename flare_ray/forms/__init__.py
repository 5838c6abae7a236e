"""How a task is posed to a model, one file per form: by a classification head, a span head, or generation."""
