"""One self-contained page: what is anomalous, why, and how sure that is; and the model card."""
