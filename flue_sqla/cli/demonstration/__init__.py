"""The main job end to end: an application, three worker processes, two faults, and the checks afterwards."""
