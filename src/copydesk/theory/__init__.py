"""The tabular lab: the method where everything can be computed exactly, and the bounds beside what is measured."""
