"""Pictures of what training will see: one skeleton, and one file a task for what is drawn."""
