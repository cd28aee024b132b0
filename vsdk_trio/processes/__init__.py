"""Job processes as the worker sees them: started, watched, stopped and never left behind."""
