"""The intermediate representation: typed ops in a directed multigraph, and its text form."""
