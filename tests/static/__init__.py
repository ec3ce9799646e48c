"""The static binary runs anywhere: what it is made of, and foreign roots."""
