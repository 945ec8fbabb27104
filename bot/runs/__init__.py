"""What a run is: its model, its states, its segments, and where it is kept."""
