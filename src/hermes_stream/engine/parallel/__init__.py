"""One model over several devices: the first rank decides, the others do what it does to their own heads."""
