"""A process that takes each new batch once, keeps a history and decides with guarantees."""
