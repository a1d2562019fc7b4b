"""What the page and the command line may know: the workspace, runs, models and offsets, and the engine."""
