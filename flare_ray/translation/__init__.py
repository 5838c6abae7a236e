"""Translation models: which there are, what they call languages, their encoder's states."""
