"""How new tokens attend to held rows, and where those rows live."""
