"""What the worker's and the registry's HTTP servers share: who may ask, answers, events, pages."""
