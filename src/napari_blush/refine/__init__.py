"""The loops. A run is a generator of typed events and knows no screen."""
