"""The families of published models: a file for each kind of block, and one table of them all."""
