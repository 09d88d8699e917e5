"""Pictures of what training will see, one file a task."""
